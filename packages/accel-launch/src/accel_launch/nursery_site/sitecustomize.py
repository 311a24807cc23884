"""The nursery: imports modules once, in the ranks' own interpreter, and forks the ranks from there.

`accel_launch.nursery` starts it as the very command of a rank, with this folder first on PYTHONPATH. So Python itself
has read the command line and the environment when it comes here, and has not yet looked at the script. The modules
are imported, the process is looked over (`fork_safety`), the ranks are forked; and each rank goes back to Python,
which goes on to run the script as it always does: no frame, module or variable of ours is left in it.

The standard library alone, for whatever interpreter the ranks have. ``ACCEL_NURSERY`` holds three descriptors: the
order, the pipe to the guardian, and the gate at which the ranks wait until the guardian is their parent.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

HERE = os.path.dirname(os.path.abspath(__file__))
PR_SET_PDEATHSIG = 1
SIGKILL = 9
LONGEST = 300  # characters of a message


class Nursery:
    """What the guardian asks for, and the way back to it."""

    def __init__(self, told: str) -> None:
        """Read the order; make the process what a rank's would be at this point."""
        import marshal

        order, self.talk, self.gate = map(int, told.split())
        with os.fdopen(order, "rb") as file:
            whole: dict[str, Any] = marshal.load(file)  # noqa: S302  our own guardian's
        self.modules: list[str] = whole["modules"]
        self.ranks: list[dict[str, Any]] = whole["ranks"]
        self.own: list[str] = whole["own"]
        self.guardian: int = whole["guardian"]
        self._step_back(whole["pythonpath"])

    def _step_back(self, pythonpath: str | None) -> None:
        """Undo what brought us here, before anybody sees it."""
        del os.environ["ACCEL_NURSERY"]
        if pythonpath is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = pythonpath
        import fork_safety

        del sys.modules["fork_safety"]
        self.safety = fork_safety
        sys.path.remove(HERE)
        sys.path_importer_cache.pop(HERE, None)

    def say(self, kind: str, text: object) -> None:
        """Tell the guardian; it reads when we have ended, so all must fit into a pipe."""
        os.write(self.talk, f"{kind} {' '.join(str(text).split())[:LONGEST]}\n".encode(errors="replace"))

    def refuse(self, why: str) -> NoReturn:
        """Leave the ranks to the guardian, which starts them plainly."""
        self.say("refused", why)
        os._exit(0)

    def run(self) -> None:
        """Import and fork; return in each rank, and nowhere else."""
        try:
            self._customize()
            self._import()
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            self.safety.flush()
        except BaseException as error:
            self.refuse(f"{type(error).__name__}: {error}")
        place = self._fork()
        try:
            self._be(self.ranks[place])
        except KeyboardInterrupt:
            self._interrupted()
        except Exception as error:
            os.write(2, f"accel: a rank can't be made of its fork: {type(error).__name__}: {error}\n".encode())
            os._exit(126)

    def _interrupted(self) -> NoReturn:
        """End a rank that was told to before it came to the script: by that signal, without a traceback of ours."""
        import signal

        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
        os._exit(128 + signal.SIGINT)

    def _customize(self) -> None:
        """Run the site's own customization now: it comes before any import, and it may change where modules are."""
        import site

        customized("sitecustomize")
        if site.ENABLE_USER_SITE:
            customized("usercustomize")

    def _import(self) -> None:
        path = first_path()
        if path is not None:
            sys.path.insert(0, path)
        self.seeds = self.safety.Seeds()
        before = self.safety.Look(self.seeds)
        for word in self.modules:
            module, _, name = word.partition(":")
            self.say("importing", module)
            with self.safety.Reads(self.own) as reads:
                try:
                    __import__(module, {}, {}, (name,) if name else ())
                except BaseException as error:
                    self.refuse(f"importing {word} failed with {type(error).__name__}: {error}")
            now = self.safety.Look(self.seeds)
            why = now.broken(before)
            if why:
                self.refuse(f"{module} {why}")
            before = now
            for variable in reads.found:
                self.say("late", f"{module} reads {variable}")
        self.seeds.close()
        if path is not None:
            sys.path.remove(path)

    def _fork(self) -> int:
        """Fork the ranks and end; return in each of them its place."""
        pids: list[int] = []
        for place in range(len(self.ranks)):
            try:
                pid = os.fork()
            except OSError as error:
                self.refuse(f"the system starts no more processes: {error.strerror}")
            if pid == 0:
                return place
            pids.append(pid)
        for pid in pids:
            self.say("born", pid)
        os._exit(0)

    def _be(self, rank: dict[str, Any]) -> None:
        """Become this rank: what it has of its own comes now."""
        os.setpgid(0, 0)
        for target, fd in enumerate(rank["streams"]):
            os.dup2(fd, target, inheritable=True)
        for fd in {self.talk, *(fd for other in self.ranks for fd in other["streams"])}:
            os.close(fd)
        for fd, name in enumerate(("stdin", "stdout", "stderr")):
            reopen(getattr(sys, name), fd)
        furnish(rank["environ"], self.own)
        self.seeds.renew()
        self._wait()

    def _wait(self) -> None:
        """Wait for the guardian to be our parent, and die with it from then on."""
        go = os.read(self.gate, 1)
        os.close(self.gate)
        if not go:
            os._exit(128 + SIGKILL)
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, ctypes.c_ulong(SIGKILL), 0, 0, 0)
        if os.getppid() != self.guardian:
            os._exit(128 + SIGKILL)


def customized(name: str) -> None:
    """Import the site's or the user's customization, if there is one, as `site` does."""
    if sys.modules.get(name) is OURS:
        del sys.modules[name]
    try:
        __import__(name)
    except ImportError as error:
        if error.name != name:
            raise


def first_path() -> str | None:
    """Return what Python will put first on the path when it comes to the script."""
    if getattr(sys.flags, "safe_path", False):
        return None
    if sys.argv[0] == "-m":
        return os.getcwd()
    script = os.path.realpath(sys.argv[0])
    return os.path.dirname(script) if is_source(script) else sys.argv[0]


def is_source(script: str) -> bool:
    """Whether a script is one file, and no folder or archive that holds a ``__main__``."""
    import zipimport

    if os.path.isdir(script):
        return False
    try:
        zipimport.zipimporter(script)
    except zipimport.ZipImportError:
        return True
    return False


def reopen(stream: Any, fd: int) -> None:
    """Make a standard stream anew on the rank's own descriptor, as Python does, in the object that modules hold."""
    if stream is None:
        return
    encoding, errors, mode, direct = stream.encoding, stream.errors, stream.mode, stream.write_through
    buffer: Any = open(fd, "rb" if fd == 0 else "wb", 0 if direct and fd else -1, closefd=False)  # noqa: SIM115
    raw = getattr(buffer, "raw", buffer)
    raw.name = f"<{('stdin', 'stdout', 'stderr')[fd]}>"
    lines = not direct and (raw.isatty() or fd == 2)  # noqa: PLR2004
    stream.__init__(buffer, encoding, errors, "\n", lines, direct)
    stream.mode = mode


def furnish(environ: dict[str, str], own: list[str]) -> None:
    """Set the rank's own variables, and put all in the order that they would have; what imports changed stays so."""
    now = dict(os.environ)
    for name, text in environ.items():
        if name in own or name in now:
            os.environ.pop(name, None)
            os.environ[name] = text if name in own else now[name]
    for name, text in now.items():
        if name not in environ:
            del os.environ[name]
            os.environ[name] = text


OURS = sys.modules[__name__]
if "ACCEL_NURSERY" in os.environ:
    try:
        nursery = Nursery(os.environ["ACCEL_NURSERY"])
    except Exception:
        os._exit(1)
    nursery.run()
if sys.modules.get(__name__) in (OURS, None):
    # The site has none of its own, and we leave no trace: `site` passes over a customization that isn't there.
    raise ModuleNotFoundError(f"No module named {__name__!r}", name=__name__)
