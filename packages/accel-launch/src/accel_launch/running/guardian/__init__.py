"""The process between the launcher and its ranks: it starts them, watches them, and terminates them.

It leads a session of its own, so that the terminal's signals reach the launcher alone, which passes them on once. It
adopts every orphan below it, so that no process which a rank starts gets away. When the launcher dies, the guardian
goes on just long enough to terminate everything. When the guardian itself dies, the kernel kills the ranks
(PDEATHSIG), and the launcher adopts the rest.

Orders come down a pipe, a byte each: the number of a signal to pass on, or one of `orders`. Events go up another
pipe, a line each: ``started RANK PID``, ``ended RANK WAITSTATUS TIME``, ``unstarted RANK MESSAGE``,
``left PID COMMAND``, ``overdue``, ``note TEXT``, ``done``.
"""
