"""The parent of one rank, for engines that hide how a rank ends and what it prints.

``python parent.py PROGRAM ARGUMENTS`` starts the program, gives it the streams and the error file that the supervisor
holds for this local rank, passes signals on, and records the rank's process and its end for the supervisor. It runs
by its path on the ranks' interpreter, with the standard library and the other files of this folder.

``ACCEL_GATE`` is a file that stays empty until the launchers have compared their machines: no rank starts before.
``ACCEL_BIND`` has for each local rank the CPUs that it is bound to and its threads: ``0-3=4/4-7=4``.
``ACCEL_SUPERVISOR`` is the folder of the supervisor's open files (``.../PID/fd``), then the number of the record
that events are appended to, then for each local rank the numbers of its standard output and error and its error file.
"""

from __future__ import annotations

import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal

    from tool import Below
else:
    import _signal as signal  # without its enums, which take long to import

GATE, LOOK = 5.0, 0.005  # seconds to wait for the launchers at most, and between two looks
BIND = "ACCEL_BIND"
# RES_OPTIONS of torch's agent where it dials a number: its resolver then asks no name server. Only for its log, torch
# looks up each address that it dials and its machine's name; where no server answers, each takes ten seconds.
UNASKED = "attempts:0"


def main() -> int:
    """Run the program of the command line as this rank; end as it ended."""
    from managers import leave
    from module import SCRATCH
    from signals import PASSED_ON, sent_to_all
    from system.prctl import bind_here

    environ = dict(os.environ)
    supervisor, met = environ.pop("ACCEL_SUPERVISOR", "").split(), environ.pop("ACCEL_MET", "")
    if "RANK" not in environ:
        supervisor = []  # only the program will find out which rank this is
    if environ.get("RES_OPTIONS") == UNASKED:
        del environ["RES_OPTIONS"]  # that was for the agent alone
    local = int(environ.get("LOCAL_RANK", "0"))
    cpus = bound(environ, local)
    wait_for(environ.pop("ACCEL_GATE", ""))
    environ.update(interface(environ))
    record, streams, error_file = supervised(supervisor, local)
    if error_file:
        os.close(os.open(error_file, os.O_WRONLY | os.O_TRUNC))  # an earlier attempt's
    named, scratch = environ.get("TORCHELASTIC_ERROR_FILE", ""), environ.pop(SCRATCH, "")
    if error_file and (not named or (scratch and named.startswith(scratch))):  # an old agent's goes with its folder
        environ["TORCHELASTIC_ERROR_FILE"] = error_file
    words, command, below = chosen(environ)
    parent, (gate, opens) = os.getpid(), os.pipe()
    child = os.fork()
    if child == 0:
        os.close(opens)
        os.read(gate, 1)  # the supervisor must know this rank before it prints anything
        bind_here(cpus)
        become(command, environ, streams, parent, launcher_of(record))
    name_process(environ.get("RANK", "0"), words)
    attempt = environ.get("TORCHELASTIC_RESTART_COUNT", "-")
    lines = Lines(record, f"{environ.get('RANK', '0')} {local}", attempt)
    doubled, program = sent_to_all(environ), Program(child, lines, below)
    for number in PASSED_ON:
        signal.signal(number, signal.SIG_IGN if number in doubled else program.pass_on)
    # From here on a reader of the record may send this process a signal.
    program.begin()
    os.close(gate)
    os.close(opens)
    status = program.wait() or (0 if below is None else below.checked(environ.get("RANK", "0"), streams[1:]))
    lines.ended(status)
    if status or met:
        leave(environ, os.waitstatus_to_exitcode(status))
    if not os.WIFSIGNALED(status):
        return os.WEXITSTATUS(status)
    number = os.WTERMSIG(status)
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    return 128 + number


def chosen(environ: dict[str, str]) -> tuple[list[str], tuple[str, ...], Below | None]:
    """Return the rank's words, what to start, and the rank below if that is a tool; set the rank's own variables."""
    from tool import Below, parted, under

    tool, own, words = parted(sys.argv[1:], environ, os.uname().nodename)
    below = Below() if tool else None
    environ.update(own)
    command = under(tool, words)
    return words, command if below is None else below.named(command), below


def wait_for(gate: str) -> None:
    """Wait until the file isn't empty, as long as the launcher that holds it lives."""
    until = time.monotonic() + GATE
    try:
        while gate and not os.stat(gate).st_size and time.monotonic() < until:
            time.sleep(LOOK)
    except OSError:
        pass  # it is a launcher's of another machine, or that is gone


def name_process(rank: str, command: list[str]) -> None:
    """Name this process after its rank and script, for ``ps -o comm`` and ``top``; the rank's own name stays."""
    words = [word for word in command[1:] if not word.startswith("-")]
    script = os.path.basename(words[0]) if words else ""
    try:
        with open("/proc/self/comm", "w") as comm:
            # Slurm's reader of /proc/PID/stat splits a name at its blanks, and then can't end the job step.
            comm.write("".join(f"rank{rank}:{script}".split())[:15])
    except OSError:
        pass  # not Linux


class Lines:
    """What this process appends to the supervisor's record, if there is one."""

    def __init__(self, record: str, rank: str, attempt: str) -> None:
        """Take the path of the record, the rank's two numbers, and the number of the engine's attempt."""
        self.record, self.rank, self.attempt = record, rank, attempt
        self.pid = 0
        """The rank's process, until its end is recorded."""

    def started(self, pid: int) -> None:
        """Record that the rank has started."""
        self.pid = pid
        append(self.record, f"started {self.rank} {pid} {os.getpid()} {self.attempt}")

    def ended(self, status: int) -> None:
        """Record that the rank has ended, once."""
        if self.pid:
            append(self.record, f"ended {self.rank} {self.pid} {status} {time.time()}")
        self.pid = 0


class Program:
    """The program while it runs. It stays a zombie until no signal can go to its pid any more."""

    def __init__(self, pid: int, lines: Lines, below: Below | None) -> None:
        """Take its pid, which is its process group too; and the rank below, if the program is a tool."""
        self.pid, self.lines, self.below, self.ended = pid, lines, below, False

    def begin(self) -> None:
        """Record its start, unless the rank is still to come."""
        if self.below is None:
            self.lines.started(self.pid)

    def pass_on(self, number: int, _frame: object) -> None:
        """Send a signal to the program, or to the rank below it; stop with it."""
        if self.ended:
            return
        try:
            if self.below is None or not self.below.send(number):
                os.kill(self.pid, number)
        except ProcessLookupError:
            return
        if number == signal.SIGTSTP:
            os.kill(os.getpid(), signal.SIGSTOP)

    def wait(self) -> int:
        """Return its wait status; kill it if the launcher that holds the record is killed.

        The launcher's guardian kills it as well, but may have been killed with the launcher.
        """
        from tool import calls, ready

        try:
            watched = [calls.open_handle(self.pid)]
        except OSError:  # not Linux, or an old kernel
            if self.below is not None:
                self.lines.started(self.pid)
                self.below.reported = True
                self.below.let_go_on()
            return self._collect()
        try:
            watched += [calls.open_handle(launcher_of(self.lines.record))] if self.lines.record else []
        except ProcessLookupError:  # the launcher is gone
            self._kill()
        if os.getpid() == 1:
            signal.signal(signal.SIGCHLD, self._collect_strangers)
            self._collect_strangers()
        failed = (
            0 if self.below is None else self.below.failure(self.pid, watched, self.lines.started, self.lines.ended)
        )
        self.ended = watched[0] in ready(watched, 0 if failed else None)
        if not self.ended:
            self._kill()
        return failed or self._collect()

    def _collect(self) -> int:
        """Wait for its end, record it, and collect it once no handler sends it signals."""
        from system import calls

        how = calls.await_end(self.pid)
        self.ended = self.ended or how is not None
        if how is not None and self.below is None:  # before: killed now, this process leaves it to the guardian
            self.lines.ended(how << 8 if how >= 0 else -how)
        return os.waitpid(self.pid, 0)[1]

    def _kill(self) -> None:
        """Kill the program and everything in its process group."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:  # it is not a group yet
            os.kill(self.pid, signal.SIGKILL)

    def _collect_strangers(self, *_event: object) -> None:
        """As pid 1 of a container, collect orphans as they die: nobody else does."""
        try:
            with open("/proc/self/task/1/children", encoding="ascii") as file:
                pids = [int(word) for word in file.read().split()]
            for pid in pids:
                if pid != self.pid:
                    os.waitpid(pid, os.WNOHANG)
        except OSError:
            pass  # a kernel without that file


def interface(environ: dict[str, str]) -> dict[str, str]:
    """Return the variables that name gloo's and NCCL's interface, unless something on this machine has set them.

    They aren't set yet under engines that start all machines from one, and if the main machine had no address yet.
    """
    local = environ.get("LOCAL_WORLD_SIZE") or environ.get("LOCAL_SIZE")
    alone = local in (None, environ.get("WORLD_SIZE"))
    if alone or environ.get("GLOO_SOCKET_IFNAME") or not environ.get("MASTER_ADDR"):
        return {}
    import route
    from system import calls

    return route.named(route.towards(environ["MASTER_ADDR"]), environ, cpu=False) if calls.ROUTES else {}


def supervised(supervisor: list[str], local: int) -> tuple[str, list[str], str]:
    """Return the paths of the record, this rank's streams and its error file; empty ones without a supervisor."""
    from system import calls

    if not supervisor or not calls.is_record(os.path.join(supervisor[0], supervisor[1])):
        return "", [], ""
    folder, record, *numbers = supervisor
    paths = [os.path.join(folder, number) for number in numbers[3 * local : 3 * local + 3]]
    return os.path.join(folder, record), paths[:2], "".join(paths[2:])


def bound(environ: dict[str, str], local: int) -> str:
    """Return the CPUs of this local rank, if ranks are bound, and set its threads if they follow from these."""
    cpus, _, threads = (environ.pop(BIND, "").split("/") + [""] * local)[local].partition("=")
    if threads:
        environ["OMP_NUM_THREADS"] = threads
    return cpus


def launcher_of(record: str) -> int:
    """Return the pid of the launcher that holds the record, ``.../PID/fd/NUMBER``; 0 without a record."""
    return int(record.split("/")[-3]) if record else 0


def become(words: tuple[str, ...], environ: dict[str, str], streams: list[str], parent: int, launcher: int) -> None:
    """Turn this fork into the program, in a process group of its own, so that each signal reaches it once."""
    from debugging import take_input
    from signals import sent_to_all
    from system.prctl import die_with, let_read

    status = 126
    try:
        os.setpgid(0, 0)
        die_with(parent)  # the engine may kill the parent alone, and may have done so already
        let_read(launcher)
        take_input(environ)
        for target, path in enumerate(streams, start=1):
            os.dup2(os.open(path, os.O_WRONLY | os.O_NOCTTY), target)
        for number in (signal.SIGPIPE, signal.SIGXFSZ, *sent_to_all(environ)):
            signal.signal(number, signal.SIG_DFL)
        os.execvpe(words[0], words, environ)
    except OSError as error:
        status = 127 if isinstance(error, FileNotFoundError) else 126
        os.write(2, f"accel: {words[0]} can't be started: {error.strerror}\n".encode())
    finally:
        os._exit(status)


def append(record: str, line: str) -> None:
    """Append a line to the supervisor's record, if there is one."""
    try:
        fd = os.open(record, os.O_WRONLY | os.O_APPEND)
    except OSError:
        return
    os.write(fd, f"{line}\n".encode())
    os.close(fd)


if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # -I and -P leave it out
    sys.exit(main())
