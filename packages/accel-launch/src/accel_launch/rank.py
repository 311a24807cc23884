"""The parent of one rank, where the engine above hides how the rank ends and what it prints.

`python rank.py PROGRAM ARGUMENTS`: starts the program, gives it the streams and the error file that the supervisor
holds for this local rank, passes signals on, and tells the supervisor who it is and how it ended. It is run by its
path on the ranks' interpreter, so it is the standard library alone, and imports nothing of ours.

``ACCEL_SUPERVISOR`` is the folder of the supervisor's open files (``/proc/PID/fd``), then the number of the record that
events are appended to, then for each local rank its numbers of standard output, standard error and the error file.
"""

import os
import signal
import sys
import time

PASSED_ON = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGTSTP", "SIGCONT")


def main():  # noqa: ANN201
    """Run the program of the command line as this rank; end as it ended."""
    environ = dict(os.environ)
    told = environ.pop("ACCEL_SUPERVISOR", "").split()
    local = int(environ.get("LOCAL_RANK", "0"))
    record, streams, error_file = _held(told, local)
    if error_file and not environ.get("TORCHELASTIC_ERROR_FILE"):
        environ["TORCHELASTIC_ERROR_FILE"] = error_file
    child = os.fork()
    if child == 0:
        _become(sys.argv[1:], environ, streams)
    who = "{} {} {}".format(environ.get("RANK", "0"), local, child)
    _tell(record, "started {} {}".format(who, os.getpid()))
    for name in PASSED_ON:
        signal.signal(getattr(signal, name), lambda number, _frame: _pass_on(child, number))
    while True:
        try:
            _pid, status = os.waitpid(child, 0)
            break
        except InterruptedError:
            continue
    _tell(record, "ended {} {} {}".format(who, status, time.time()))
    if os.WIFSIGNALED(status):
        signal.signal(os.WTERMSIG(status), signal.SIG_DFL) if os.WTERMSIG(status) not in (9, 19) else None
        os.kill(os.getpid(), os.WTERMSIG(status))
    return os.WEXITSTATUS(status)


def _held(told, local):  # noqa: ANN001, ANN202
    """Return the paths of the record, of this rank's two streams, and of its error file; none where nobody listens."""
    if not told:
        return "", (), ""
    folder, record, *numbers = told
    own = numbers[3 * local : 3 * local + 3]
    paths = [os.path.join(folder, number) for number in own]
    return os.path.join(folder, record), tuple(paths[:2]), paths[2] if len(paths) > 2 else ""


def _become(words, environ, streams):  # noqa: ANN001, ANN202
    status = 126
    try:
        os.setpgid(0, 0)
        _die_with_parent()
        for target, path in enumerate(streams, start=1):
            os.dup2(os.open(path, os.O_WRONLY | os.O_NOCTTY), target)
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        os.execvpe(words[0], words, environ)
    except OSError as error:
        status = 127 if isinstance(error, FileNotFoundError) else 126
        os.write(2, "accel: {} can't be started: {}\n".format(words[0], error.strerror).encode())
    finally:
        os._exit(status)


def _die_with_parent():  # noqa: ANN202
    if sys.platform != "linux":
        return
    import ctypes

    ctypes.CDLL(None).prctl(1, ctypes.c_ulong(signal.SIGKILL), 0, 0, 0)  # PR_SET_PDEATHSIG


def _pass_on(child, number):  # noqa: ANN001, ANN202
    try:
        os.kill(child, number)
    except ProcessLookupError:
        pass
    if number == signal.SIGTSTP:
        os.kill(os.getpid(), signal.SIGSTOP)


def _tell(record, line):  # noqa: ANN001, ANN202
    if not record:
        return
    try:
        fd = os.open(record, os.O_WRONLY | os.O_APPEND)
    except OSError:
        return
    os.write(fd, (line + "\n").encode())
    os.close(fd)


if __name__ == "__main__":
    sys.exit(main())
