"""A rank below a tool of ``--wrap``: a debugger, a profiler, a binding.

``python tool.py PROGRAM ARGUMENTS`` is what the tool starts. It reports its process to who has started the tool, waits
until that watches it, and becomes the rank. So the tool has the rank as its own child, and signals and the rank's end
pass by the tool, which may keep either for itself.
"""

from __future__ import annotations

import os
import signal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

ABOVE = "ACCEL_ABOVE"
"""The variable with the path of two pipes of who has started the tool, what these are, and the launcher's pid."""
WRAP, ENV = "--wrap", "--env"
# The request for the facts that a pidfd keeps of a process which has ended and was collected (Linux 6.15), and where
# they are: PIDFD_GET_INFO, PIDFD_INFO_EXIT and `exit_code` of struct pidfd_info.
GET_INFO, EXIT, SIZE, PLACE = 0xC040FF0B, 8, 64, 60


class Below:
    """The process of a rank below a tool, as seen by who has started the tool."""

    def __init__(self, launcher: int) -> None:
        """Make the pipe by which the rank reports itself, and the one at which it waits."""
        self.heard, self._reports = os.pipe()
        self._waits, self._opens = os.pipe()
        os.set_blocking(self.heard, False)
        ends = (self._reports, self._waits)
        pipes = [f"{fd} {os.fstat(fd).st_ino}" for fd in ends]
        self.variable = f"/proc/{os.getpid()}/fd {' '.join(pipes)} {launcher}"
        """The value of `ABOVE` for the tool."""
        self.pid = 0
        """The rank's process; 0 as long as there is none."""
        self.fd = -1
        """Its pidfd."""

    def meet(self) -> bool:
        """Read who the rank is, and begin to watch it; return False if it can't be watched."""
        try:
            self.pid = int(os.read(self.heard, 64).split()[0])
            self.fd = os.pidfd_open(self.pid)
        except (AttributeError, OSError, ValueError, IndexError):  # AttributeError: Python 3.8
            self.pid = 0
        return self.fd >= 0

    def let_go_on(self) -> None:
        """Let the rank go on."""
        os.write(self._opens, b".")
        for fd in (self.heard, self._reports, self._waits, self._opens):
            os.close(fd)

    def send(self, number: int) -> None:
        """Send it a signal."""
        try:
            signal.pidfd_send_signal(self.fd, number)
        except (ProcessLookupError, PermissionError):
            pass

    def status(self) -> int | None:
        """Return the wait status with which it has ended; None if that isn't known."""
        try:
            with open(f"/proc/{self.pid}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
            if fields[0] == b"Z":  # the tool hasn't collected it
                return int(fields[-1])
        except (OSError, IndexError):
            pass
        import fcntl
        import struct

        facts = bytearray(struct.pack("Q", EXIT).ljust(SIZE, b"\0"))
        try:
            fcntl.ioctl(self.fd, GET_INFO, facts, True)
        except OSError:  # an older kernel
            return None
        known = struct.unpack_from("Q", facts)[0] & EXIT
        return struct.unpack_from("i", facts, PLACE)[0] if known else None


def under(tool: list[str], python: str, words: list[str]) -> list[str]:
    """Return the command of a rank below a tool."""
    return [*tool, python, "-I", "-S", os.path.abspath(__file__), *words] if tool else words


def parted(words: list[str], environ: Mapping[str, str], host: str) -> tuple[list[str], dict[str, str], list[str]]:
    """Return the tool and the variables of this rank, and its own words, from those of its parent.

    What is for some ranks stands first, as ``--wrap RANKS COUNT WORD...`` and ``--env RANKS NAME=VALUE``.
    """
    rank, local, total = (int(environ.get(name, "0")) for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"))
    facts = {"r": str(rank), "l": str(local), "h": host, "%": "%"}
    tool: list[str] = []
    own: dict[str, str] = {}
    while words[0] in (WRAP, ENV):
        option, ranks, *words = words
        count, words = (int(words[0]), words[1:]) if option == WRAP else (1, words)
        taken, words = words[:count], words[count:]
        if not matches(ranks, rank, total):
            continue
        taken = [fill(word, facts) for word in taken]
        if option == WRAP:
            tool += taken
        else:
            name, _, text = taken[0].partition("=")
            own[name] = text
    return tool, own, words


def matches(ranks: str, rank: int, total: int) -> bool:
    """Return whether a list of ranks, such as ``0,2-3,last``, has this rank of ``total``; an empty one has all."""
    for part in ranks.split(",") if ranks else ():
        ends = [total - 1 if end == "last" else int(end) for end in part.split("-")]
        if ends[0] <= rank <= ends[-1]:
            return True
    return not ranks


def fill(text: str, facts: Mapping[str, str]) -> str:
    """Return the text with the fact in place of each ``%`` and letter; those without a fact stay."""
    found, percent, rest = text.partition("%")
    while percent:
        found += facts.get(rest[:1], f"%{rest[:1]}")
        text, percent, rest = rest[1:].partition("%")
        found += text
    return found


def main() -> None:
    """Become the rank."""
    above = os.environ.pop(ABOVE, "").split()
    if above:
        report(above)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and so would a program that isn't Python
        signal.signal(number, signal.SIG_DFL)
    words = sys.argv[1:]
    try:
        os.execvp(words[0], words)
    except OSError as error:
        os.write(2, f"accel: {words[0]} can't be started: {error.strerror}\n".encode())
        os._exit(127 if isinstance(error, FileNotFoundError) else 126)


def report(above: list[str]) -> None:
    """Report this process, and wait until it is watched; go on if nobody is there, as in a container of the tool."""
    from prctl import let_read

    folder, reports, its_pipe, waits, other_pipe, launcher = above
    try:
        for fd, pipe in ((reports, its_pipe), (waits, other_pipe)):
            if os.readlink(f"{folder}/{fd}") != f"pipe:[{pipe}]":
                return
        let_read(int(launcher))
        gate = os.open(f"{folder}/{waits}", os.O_RDONLY)
        fd = os.open(f"{folder}/{reports}", os.O_WRONLY)
        os.write(fd, os.readlink("/proc/self").encode())  # as seen where the pipe was found
        os.close(fd)
        os.read(gate, 1)
        os.close(gate)
    except OSError:
        pass


if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # -I and -P leave it out
    main()
