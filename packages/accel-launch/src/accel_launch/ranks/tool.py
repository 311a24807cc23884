"""A rank below a tool of ``--wrap``: a debugger, a profiler, a binding.

A shell stands between the two. It reports its process to who has started the tool, waits until that watches it, and
becomes the rank. So the rank is the tool's own child, and signals and the rank's end pass by the tool, which may keep
either for itself. It isn't Python, because a tool that looks into Python (py-spy) would take it for the rank.
"""

from __future__ import annotations

import os

if __package__:
    from .system import calls
else:  # in a rank's parent
    from system import calls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

REPORT, GATE = "ACCEL_REPORT", "ACCEL_GO"
"""Variables with the paths of two pipes of who has started the tool."""
BETWEEN = (
    f'[ -p "${REPORT}" ] && {{ echo $$ >"${REPORT}" && read -r go; }} <"${GATE}"; unset {REPORT} {GATE} go; exec "$@"'
)
WRAP, ENV = "--wrap", "--env"
LATE = 0.5  # seconds for a rank to report itself after its tool has ended well, and left it running
FINISH = 30.0  # seconds for a tool whose rank has failed, as torch's agent gives them to ranks
# The request for the facts that a pidfd keeps of a process which has ended and was collected (Linux 6.15), and where
# they are: PIDFD_GET_INFO, PIDFD_INFO_EXIT and `exit_code` of struct pidfd_info.
GET_INFO, EXIT, SIZE, PLACE = 0xC040FF0B, 8, 64, 60


class Below:
    """The process of a rank below a tool, as seen by who has started the tool."""

    def __init__(self) -> None:
        """Make the pipe by which the rank reports itself, and the one at which it waits."""
        self.heard, self._reports = os.pipe()
        self._waits, self._opens = os.pipe()
        os.set_blocking(self.heard, False)
        folder = f"/proc/{os.getpid()}/fd"
        self.variables = {REPORT: f"{folder}/{self._reports}", GATE: f"{folder}/{self._waits}"}
        """What the tool has in its environment."""
        self.pid = 0
        """The rank's process; 0 as long as there is none."""
        self.fd = -1
        """Its pidfd."""
        self.ended: int | None = 0
        """Its wait status; None if nobody but its tool knows."""

    def meet(self, seconds: float = 0.0) -> bool:
        """Read who the rank is, and begin to watch it; return False if it doesn't come in time, or can't be watched.

        A tool may have started it in a container, where processes have other numbers.
        """
        ready([self.heard], seconds)
        try:
            pid = int(os.read(self.heard, 64).split()[0])
            fd = calls.open_handle(pid)
            with open(f"/proc/{pid}/environ", "rb") as file:
                known = f"{REPORT}={self.variables[REPORT]}".encode() in file.read().split(b"\0")
        except (OSError, ValueError, IndexError):
            return False
        if known:
            self.pid, self.fd = pid, fd
        else:
            os.close(fd)
        return known

    def let_go_on(self) -> None:
        """Let the rank go on."""
        os.write(self._opens, b"\n")
        for fd in (self.heard, self._reports, self._waits, self._opens):
            os.close(fd)

    def send(self, number: int) -> bool:
        """Send it a signal; return whether it is there."""
        try:
            calls.send_by(self.fd, number)
        except OSError:  # it has ended, or hasn't begun
            return False
        return True

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

    def failure(
        self, tool: int, watched: list[int], started: Callable[[int], None], ended: Callable[[int], None]
    ) -> int:
        """Wait for a rank below a tool that is our child; return its wait status if it failed, else 0.

        Then the tool's end is still to come, which is the rank's if the rank hasn't failed. A tool whose rank has
        failed gets some time to write what it has found.

        Args:
            tool: The pid of the tool.
            watched: Its pidfd, then perhaps another one at whose end nobody needs the rank.
            started: Called with the rank's pid.
            ended: Called with the status of a rank that failed.
        """
        first = ready([self.heard, *watched])
        leaving = self.heard not in first and watched[0] in first and _ended_well(tool)
        met = (self.heard in first or leaving) and self.meet(LATE if leaving else 0.0) and self.pid != tool
        started(self.pid or tool)
        self.let_go_on()
        if not met:
            return 0
        first = ready([self.fd, *watched])
        if self.fd not in first and watched[0] in first and _ended_well(tool):
            first = ready([self.fd, *watched[1:]])
        status = (self.status() or 0) if self.fd in first else 0
        if status:
            ended(status)
            ready(watched, FINISH)
        return status


def ready(fds: list[int], seconds: float | None = None) -> list[int]:
    """Return the descriptors that are ready, once one is."""
    import select

    poller = select.poll()
    for fd in fds:
        poller.register(fd, select.POLLIN)
    return [fd for fd, _event in poller.poll(None if seconds is None else seconds * 1000)]


def _ended_well(child: int) -> bool:
    """Return whether a child that has ended, and isn't collected, has the status 0."""
    return calls.await_end(child) == 0


def under(tool: Sequence[str], words: Sequence[str]) -> tuple[str, ...]:
    """Return the command of a rank below a tool."""
    return (*tool, "sh", "-c", BETWEEN, "sh", *words) if tool else tuple(words)


def parted(words: list[str], environ: Mapping[str, str], host: str) -> tuple[list[str], dict[str, str], list[str]]:
    """Return the tool and the variables of this rank, and its own words, from those of its parent.

    What is for some ranks stands first, as ``--wrap RANKS COUNT WORD...`` and ``--env RANKS NAME=VALUE``.
    """
    if words[0] not in (WRAP, ENV):
        return [], {}, words
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
