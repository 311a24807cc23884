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

REPORT, GATE = "report", "gate"
"""Two pipes in a folder of who has started the tool. The shell's name is the folder's path, by which it is known."""
TEMPORARY = "/tmp"  # noqa: S108
ROOT = "/proc/{}/root"
"""Before that path: the way to it from where the tool has mounted another folder."""
BETWEEN = (
    'for ACCEL_AT in "$0" "${0#/proc/*/root}"; do [ -p "$ACCEL_AT/report" ] && '
    '{ echo $$ 1<>"$ACCEL_AT/report" && read -r ACCEL_GO; } <"$ACCEL_AT/gate" && break; done; '
    'unset ACCEL_AT ACCEL_GO; exec "$@"'
)
UNSEEN = "the command of --wrap before it ended with status 0, and the launcher has seen no rank below it"
UNSEEN_STATUS = 1 << 8
"""The wait status of a rank that nobody has seen."""
WRAP, ENV, APART = "--wrap", "--env", "--apart"
VISIBLE = "CUDA_VISIBLE_DEVICES"
LATE = 0.5  # seconds for a rank to report itself after its tool has ended well, and left it running
TURN = 500  # milliseconds
FINISH = 30.0  # seconds for a tool whose rank has failed, as torch's agent gives them to ranks


class Below:
    """The process of a rank below a tool, as seen by who has started the tool."""

    def __init__(self) -> None:
        """Make the pipe by which the rank reports itself, and the one at which it waits.

        Raises:
            OSError: the system refuses a pipe.
        """
        self.folder, self._pipes = _pipes()
        self.name = f"{ROOT.format(os.getpid())}{self.folder}"
        """The name of the shell, which neither a cleared environment nor a namespace of its own takes from it."""
        self.heard = self._pipes[0]
        self.reported = False
        """Whether there is a rank, or has been one."""
        self.pid = 0
        """The rank's process; 0 as long as none is watched."""
        self.fd = -1
        """Its pidfd."""
        self.ended: int | None = 0
        """Its wait status; None if nobody but its tool knows."""

    def named(self, words: Sequence[str]) -> tuple[str, ...]:
        """Return the command of a rank below a tool, which reports to us."""
        place = words.index(BETWEEN) + 1
        return *words[:place], self.name, *words[place + 1 :]

    def meet(self, seconds: float = 0.0) -> bool:
        """Read who the rank is, and begin to watch it; return False if that fails, or none comes in time."""
        ready([self.heard], seconds)
        try:
            pid = int(os.read(self.heard, 64).split()[0])
            self.reported = True
            if not self._is(pid):  # it counts its processes from 1
                pid = next(int(name) for name in os.listdir("/proc") if name.isdecimal() and self._is(int(name)))
            self.fd = calls.open_handle(pid)
        except (OSError, ValueError, IndexError, StopIteration):
            return False
        self.pid = pid
        return True

    def _is(self, pid: int) -> bool:
        """Return whether a process is the shell that waits; without ``/proc`` there is one way to count."""
        if not os.path.isdir("/proc/self"):
            return True
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                return file.read().split(b"\0")[3:4] == [self.name.encode()]
        except OSError:
            return False

    def let_go_on(self) -> None:
        """Let the rank go on."""
        os.write(self._pipes[1], b"\n")
        self.close()

    def close(self) -> None:
        """Remove the pipes."""
        _remove(self.folder, self._pipes)

    def send(self, number: int) -> bool:
        """Send it a signal; return whether it is there."""
        try:
            calls.send_by(self.fd, number)
        except OSError:  # it has ended, or hasn't begun
            return False
        return True

    def status(self) -> int | None:
        """Return the wait status with which it has ended; None if that isn't known."""
        return calls.exit_status(self.fd, self.pid)

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
        leaving = self.heard not in first and watched[0] in first and _ended_well(tool, watched[0])
        met = (self.heard in first or leaving) and self.meet(LATE if leaving else 0.0) and self.pid != tool
        started(self.pid or tool)
        self.let_go_on()
        if not met:
            return 0
        first = ready([self.fd, *watched])
        if self.fd not in first and watched[0] in first and _ended_well(tool, watched[0]):
            first = ready([self.fd, *watched[1:]])
        status = (self.status() or 0) if self.fd in first else 0
        if status:
            ended(status)
            ready(watched, FINISH)
        return status

    def checked(self, rank: str, stream: Sequence[str]) -> int:
        """Return the wait status where the tool has ended well: without the rank, that is a failure to report."""
        if self.reported:
            return 0
        fd = os.open(stream[0], os.O_WRONLY | os.O_NOCTTY) if stream else 2
        os.write(fd, f"accel: rank {rank} couldn't be started: {UNSEEN}\n".encode())
        return UNSEEN_STATUS


def _pipes() -> tuple[str, list[int]]:
    """Make a folder with two pipes, where a tool is likely to see it too; return it and a descriptor of each pipe.

    Raises:
        OSError: there is no place for it, or no descriptor is left.
    """
    refused: OSError | None = None
    for parent in (os.environ.get("TMPDIR") or TEMPORARY, TEMPORARY, "/dev/shm", os.getcwd()):  # noqa: S108
        try:
            return _pipes_in(os.path.abspath(f"{parent}/accel-{os.urandom(8).hex()}"))
        except OSError as error:
            refused = refused or error
    raise refused or OSError()


def _pipes_in(folder: str) -> tuple[str, list[int]]:
    os.mkdir(folder, 0o700)
    found: list[int] = []
    try:
        for name in (REPORT, GATE):
            os.mkfifo(f"{folder}/{name}", 0o600)
            # With both ends in one hand, nobody waits for the other one.
            found.append(os.open(f"{folder}/{name}", os.O_RDWR | os.O_NONBLOCK))
    except OSError:
        _remove(folder, found)
        raise
    return folder, found


def _remove(folder: str, pipes: list[int]) -> None:
    for fd in pipes:
        os.close(fd)
    for remove, path in ((os.unlink, f"{folder}/{REPORT}"), (os.unlink, f"{folder}/{GATE}"), (os.rmdir, folder)):
        try:
            remove(path)
        except OSError:  # it wasn't made, or somebody has tidied up
            pass


def ready(fds: list[int], seconds: float | None = None) -> list[int]:
    """Return the descriptors that are ready, once one is, or after these seconds."""
    import select

    poller = select.poll()
    for fd in fds:
        poller.register(fd, select.POLLIN)
    found = poller.poll(TURN if seconds is None else seconds * 1000)
    while seconds is None and not found:  # a signal that came just before the call slept is handled after a turn
        found = poller.poll(TURN)
    return [fd for fd, _event in found]


def _ended_well(child: int, handle: int) -> bool:
    """Return whether a child that has ended, and isn't collected, has the status 0."""
    status = calls.await_end(child)
    return (calls.exit_status(handle, child) if status is None else status) == 0


def under(tool: Sequence[str], words: Sequence[str]) -> tuple[str, ...]:
    """Return the command of a rank below a tool."""
    return (*tool, "sh", "-c", BETWEEN, "sh", *words) if tool else tuple(words)


def parted(words: list[str], environ: Mapping[str, str], host: str) -> tuple[list[str], dict[str, str], list[str]]:
    """Return the tool and the variables of this rank, and its own words, from those of its parent.

    What is for some ranks stands first, as ``--wrap RANKS COUNT WORD...`` and ``--env RANKS NAME=VALUE``. Before
    these, ``--apart`` lets each rank see only its own one of the visible devices, which it then calls 0.
    """
    if words[0] not in (WRAP, ENV, APART):
        return [], {}, words
    rank, local, total = (int(environ.get(name, "0")) for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"))
    facts = {"r": str(rank), "l": str(local), "h": host, "%": "%"}
    tool: list[str] = []
    own: dict[str, str] = {}
    if words[0] == APART:
        own = {VISIBLE: "".join(environ.get(VISIBLE, "").split(",")[local : local + 1]), "LOCAL_RANK": "0"}
        words = words[1:]
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
