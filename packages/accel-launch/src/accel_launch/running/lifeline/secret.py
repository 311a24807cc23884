"""The secret of a run, by which its launchers know each other, and who carries it to them.

It is in the user's file; or in a variable that the job's script or manifest sets, or that Open MPI gives to all that
one mpirun starts; or machine 0 makes one and leaves it in the user's home if that is on a file system of the network.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress

from accel_launch.machine import files
from accel_launch.ranks.beacon import KEY as OF_MPIRUN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from accel_launch.running.lifeline import Lifeline

SIZE = 32  # random bytes
NAME = 32  # letters of a file's name
HEXADECIMAL = frozenset("0123456789abcdef")
LONGEST = 1 << 16  # bytes of a secret file
OLD = 90 * 86400.0  # seconds after which what a killed launcher left behind is removed
# File systems that machines share, as the kernel names them.
SHARED = frozenset(
    (
        *("nfs", "nfs4", "lustre", "gpfs", "beegfs", "ceph", "wekafs", "glusterfs", "pvfs2", "panfs", "afs", "gfs2"),
        *("ocfs2", "cifs", "smb3", "virtiofs", "fuse.ceph-fuse", "fuse.glusterfs", "fuse.juicefs", "fuse.sshfs"),
    )
)


class Secret:
    """Finds the secret; on the main machine makes one if the other machines can read it."""

    def __init__(self, line: Lifeline, carried: str | None, environ: Mapping[str, str] = os.environ) -> None:
        """Look where it may be; ``carried`` is what a scheduler's job has set."""
        self.line = line
        self.folder = files.state(environ, "lifeline")
        self.file = ""
        """The name of the file in which this launcher has left it for the others."""
        self.value: bytes | None = None
        """None if the launchers have no secret, or if this one doesn't know it yet."""
        if line.secret_file is not None:
            with open(os.path.expanduser(line.secret_file), "rb") as file:
                self.value = file.read(LONGEST).strip()
        elif carried or environ.get(OF_MPIRUN):
            self.value = (carried or environ[OF_MPIRUN]).strip().encode(errors="replace")
        elif line.main and line.port and shared(self.folder):
            self.value = self._make()

    def find(self, name: str) -> bytes | None:
        """Return the secret that machine 0 has left for us in the file of this name; None if there is none."""
        if len(name) != NAME or not HEXADECIMAL.issuperset(name):
            return None
        try:
            os.listdir(self.folder)  # by which NFS notices a new file
            fd = os.open(os.path.join(self.folder, name), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return None
        with open(fd, "rb") as file:
            state = os.fstat(fd)
            ours = state.st_uid == os.geteuid() and not state.st_mode & 0o077
            return (file.read(LONGEST).strip() or None) if ours else None

    def _make(self) -> bytes | None:
        secret, name = os.urandom(SIZE).hex().encode(), os.urandom(NAME // 2).hex()
        try:
            os.makedirs(self.folder, mode=0o700, exist_ok=True)
            self._tidy()
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            with open(os.open(os.path.join(self.folder, name), flags, 0o600), "wb") as file:
                self.file = name
                file.write(secret)
                file.flush()
                os.fsync(file.fileno())
        except OSError:  # a full or read-only home
            self.remove()
            return None
        return secret

    def _tidy(self) -> None:
        for entry in os.scandir(self.folder):
            with suppress(OSError):  # another launcher does the same
                if time.time() - entry.stat(follow_symlinks=False).st_mtime > OLD:
                    os.unlink(entry.path)

    def remove(self) -> None:
        """Remove the file that this launcher has made."""
        if self.file:
            with suppress(OSError):
                os.unlink(os.path.join(self.folder, self.file))
            self.file = ""


def shared(folder: str, mounts: str = "/proc/self/mountinfo") -> bool:
    """Return whether a folder is, or would be, on a file system of the network."""
    from accel_launch.machine.files import read

    best, kind = "", ""
    whole = os.path.realpath(folder)
    for line in read(mounts).splitlines():
        mount, _, source = line.partition(" - ")
        fields = mount.split(" ")
        if len(fields) > 4 and source:  # noqa: PLR2004 - see proc(5)
            point = fields[4].encode().decode("unicode_escape")  # a space is \040 there
            if whole.startswith(point.rstrip("/") + "/") and len(point) >= len(best):
                best, kind = point, source.split(" ")[0]
    return kind in SHARED
