"""The parent of one rank, where the engine above hides how the rank ends and what it prints.

``python rank.py PROGRAM ARGUMENTS``: starts the program, gives it the streams and the error file that the supervisor
holds for this local rank, passes signals on, and tells the supervisor who it is and how it ended. It is run by its
path on the ranks' interpreter, so it is the standard library alone, and imports nothing of ours.

``ACCEL_SUPERVISOR`` is the folder of the supervisor's open files (``/proc/PID/fd``), then the number of the record
that events are appended to, then for each local rank the numbers of its standard output and error and its error file.
"""

from __future__ import annotations

import os
import signal
import sys
import time

PASSED_ON = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGTSTP", "SIGCONT")
PR_SET_PDEATHSIG = 1
OWN_STEPS = 0xFFFF_FFF0  # see accel_launch.schedulers.slurm
ANSWER = 2.0  # seconds for a process manager on this machine to answer
RECORD = "/memfd:accel-record"
# RES_OPTIONS of torch's agent, where it dials a number: its resolver asks no name server. For its log alone torch
# looks up each address that it dials, and its machine's name; where no server answers, each takes ten seconds.
UNASKED = "attempts:0"


def main() -> int:
    """Run the program of the command line as this rank; end as it ended."""
    environ = dict(os.environ)
    told, met = environ.pop("ACCEL_SUPERVISOR", "").split(), environ.pop("ACCEL_MET", "")
    if "RANK" not in environ:
        told = []  # which rank this is, only the program will find out
    if environ.get("RES_OPTIONS") == UNASKED:
        del environ["RES_OPTIONS"]  # that was for the agent alone
    local = int(environ.get("LOCAL_RANK", "0"))
    environ.update(interface(environ))
    record, streams, error_file = held(told, local)
    if error_file:
        os.close(os.open(error_file, os.O_WRONLY | os.O_TRUNC))  # what an earlier attempt left is not this one's
    if error_file and not environ.get("TORCHELASTIC_ERROR_FILE"):
        environ["TORCHELASTIC_ERROR_FILE"] = error_file
    gate, opens = os.pipe()
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        os.close(opens)
        os.read(gate, 1)  # the supervisor is to know who this is before it prints anything
        become(sys.argv[1:], environ, streams, parent)
    who = f"{environ.get('RANK', '0')} {local} {child}"
    theirs = sent_to_all(environ)
    for name in PASSED_ON:
        number = getattr(signal, name)
        signal.signal(number, signal.SIG_IGN if number in theirs else lambda number, _frame: pass_on(child, number))
    # Whoever hears of it may send it a signal.
    tell(record, f"started {who} {os.getpid()} {environ.get('TORCHELASTIC_RESTART_COUNT', '-')}")
    os.close(gate)
    os.close(opens)
    status = ended(child, record)
    tell(record, f"ended {who} {status} {time.time()}")
    if status or met:
        part(environ, os.waitstatus_to_exitcode(status))
    if not os.WIFSIGNALED(status):
        return os.WEXITSTATUS(status)
    number = os.WTERMSIG(status)
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    return 128 + number


def ended(child: int, record: str) -> int:
    """Wait for the program, and return how it ended; kill it where the launcher that holds the ``record`` is killed.

    Its guardian does that as well, but may have been killed with it.
    """
    launcher = [int(record.split("/")[2])] if record else []  # /proc/PID/fd/NUMBER
    try:
        watched = [os.pidfd_open(pid) for pid in (child, *launcher)]
    except (AttributeError, OSError):  # not this system, or an old one
        return os.waitpid(child, 0)[1]
    import select

    poller = select.poll()
    for fd in watched:
        poller.register(fd, select.POLLIN)
    if watched[0] not in [fd for fd, _event in poller.poll()]:
        kill(child)
    return os.waitpid(child, 0)[1]


def kill(child: int) -> None:
    """Kill the program and what it has started, as far as that is in its process group."""
    try:
        os.killpg(child, signal.SIGKILL)
    except ProcessLookupError:  # it is gone, or not a group yet
        os.kill(child, signal.SIGKILL)  # which we haven't waited for, so it can't be another one


def interface(environ: dict[str, str]) -> dict[str, str]:
    """Return the variables that name gloo's and NCCL's interface, where nobody on this machine has named it yet.

    That is so under engines that start all machines from one, and where the main machine had no address yet.
    """
    local = environ.get("LOCAL_WORLD_SIZE") or environ.get("LOCAL_SIZE")
    one = local in (None, environ.get("WORLD_SIZE"))
    if one or sys.platform != "linux" or environ.get("GLOO_SOCKET_IFNAME") or not environ.get("MASTER_ADDR"):
        return {}
    import runpy

    route = runpy.run_path(os.path.join(os.path.dirname(os.path.abspath(__file__)), "route.py"))
    way = route["towards"](environ["MASTER_ADDR"])
    named: dict[str, str] = route["named"](way, environ, cpu=False)
    return named


def held(told: list[str], local: int) -> tuple[str, list[str], str]:
    """Return the paths of the record, of this rank's streams and of its error file; nothing where nobody listens."""
    if not told or not listening(os.path.join(told[0], told[1])):
        return "", [], ""
    folder, record, *numbers = told
    paths = [os.path.join(folder, number) for number in numbers[3 * local : 3 * local + 3]]
    return os.path.join(folder, record), paths[:2], "".join(paths[2:])


def listening(record: str) -> bool:
    """Whether the record is one: an engine may carry its name to another machine, where it is anything or nothing."""
    try:
        return os.readlink(record).startswith(RECORD)
    except OSError:
        return False


def become(words: list[str], environ: dict[str, str], streams: list[str], parent: int) -> None:
    """Turn this fork into the program, in a process group of its own, so that each signal reaches it once."""
    status = 126
    try:
        os.setpgid(0, 0)
        die_with(parent)
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


def die_with(parent: int) -> None:
    """Be killed when our parent is: the engine above may kill it alone, and may have done so already."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(128 + signal.SIGKILL)


def sent_to_all(environ: dict[str, str]) -> tuple[int, ...]:
    """Return the signals that Slurm sends to every process of its step, the program among them."""
    step = environ.get("SLURM_STEP_ID", "")
    return (signal.SIGUSR1, signal.SIGUSR2) if step.isdecimal() and int(step) < OWN_STEPS else ()


def pass_on(child: int, number: int) -> None:
    """Give a signal to the program; stop with it."""
    try:
        os.kill(child, number)
    except ProcessLookupError:
        return
    if number == signal.SIGTSTP:
        os.kill(os.getpid(), signal.SIGSTOP)


def part(environ: dict[str, str], status: int) -> None:
    """Part with Hydra (MPICH, Intel MPI): have it end the other ranks where this one has failed.

    By itself it does so only for programs that have called MPI; others it lets wait for this one for ever. Where the
    launcher has talked to it (`accel_launch.schedulers.pmi`), it wants to hear of a good end as well. We say it in
    the words of its PMI, version 1, as a program that calls MPI would.
    """
    told = environ.get("PMI_FD", "")
    if not told.isdecimal() or "MPI_LOCALRANKID" not in environ:
        return
    import select
    import stat

    fd = int(told)
    goodbye = f"abort exitcode={status if status > 0 else 128 - status}" if status else "finalize"
    try:
        if not stat.S_ISSOCK(os.fstat(fd).st_mode):  # somebody between us and Hydra closed it, and opened a file
            return
        for words in ("init pmi_version=1 pmi_subversion=1", goodbye):
            os.write(fd, f"cmd={words}\n".encode())
            if select.select([fd], [], [], ANSWER)[0]:
                os.read(fd, 1024)
    except OSError:
        pass  # it is gone, or ends us this moment, or the program has parted with it already


def tell(record: str, line: str) -> None:
    """Append a line to the supervisor's record, if it is there."""
    try:
        fd = os.open(record, os.O_WRONLY | os.O_APPEND)
    except OSError:
        return
    os.write(fd, f"{line}\n".encode())
    os.close(fd)


if __name__ == "__main__":
    sys.exit(main())
