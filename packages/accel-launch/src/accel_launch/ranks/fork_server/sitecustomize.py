"""The fork server: import modules once, in the ranks' own interpreter, and fork the ranks from there.

The launcher starts it as the very command of a rank, with this folder first on PYTHONPATH. So Python itself has read
the command line and the environment when it comes here, and has not yet looked at the script. The fork server imports
the modules, checks that the process can be forked (`fork_safety`), and forks the ranks. Each rank returns to Python,
which runs the script as it always does: no frame, module or variable of ours is left in it. A copy of this process
can stay for later ranks (`parking`).

It needs only the standard library and this folder's siblings, on any interpreter. ``ACCEL_FORK_SERVER`` holds four
descriptors: the order, the pipe to the guardian, the gate at which the ranks wait until the guardian is their parent,
and the socket of the copy that stays, or -1.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

HERE = os.path.dirname(os.path.abspath(__file__))
PATHS = (HERE, os.path.join(os.path.dirname(HERE), "system"))
LONGEST = 300  # characters of a message


class ForkServer:
    """The guardian's order, and the way back to the guardian."""

    def __init__(self, descriptors: str) -> None:
        """Read the order; make this process what a rank's would be at this point."""
        import marshal

        order, self.events, self.gate, control = map(int, descriptors.split())
        with os.fdopen(order, "rb") as file:
            content: dict[str, Any] = marshal.load(file)  # noqa: S302  our own guardian's
        self.modules: list[str] = content["modules"]
        self.ranks: list[dict[str, Any]] = content["ranks"]
        self.own: list[str] = content["own"]
        self.shared: dict[str, str] = content["shared"]
        """The variables that are there during the imports."""
        self.guardian: int = content["guardian"]
        self.launcher: int = content["launcher"]
        self.files: Any = None
        self.parked: Any = None
        self.staying: Any = None
        self._step_back(self.shared.get("PYTHONPATH"), control, stays=content["stays"])

    def _step_back(self, pythonpath: str | None, control: int, *, stays: bool) -> None:
        """Undo what made Python start the fork server, before a module of the user's can see it."""
        del os.environ["ACCEL_FORK_SERVER"]
        if pythonpath is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = pythonpath
        sys.path.insert(0, PATHS[1])
        import fork_safety
        import prctl

        self.safety, self.prctl = fork_safety, prctl
        if stays:
            import staying

            self.staying, self.guardian = staying, os.getpid()
        for name in ("fork_safety", "prctl", "itself", "ps", "staying"):
            sys.modules.pop(name, None)
        if control >= 0:
            self._prepare_parking(control)
        for folder in PATHS:
            sys.path.remove(folder)
            sys.path_importer_cache.pop(folder, None)

    def _prepare_parking(self, control: int) -> None:
        import freshness
        import parking
        import starting
        import warmth

        self.freshness, self.starting, self.warmth = freshness, starting, warmth
        for module in (freshness, parking, starting, warmth):
            del sys.modules[module.__name__]
        self.parked = parking.Parked(self, control)

    def report(self, kind: str, text: object) -> None:
        """Report to the guardian, which reads only after the end of this process: a pipe must hold all reports."""
        os.write(self.events, f"{kind} {' '.join(str(text).split())[:LONGEST]}\n".encode(errors="replace"))

    def refuse(self, why: str) -> NoReturn:
        """Leave the ranks to the guardian, which then starts each by itself."""
        self.report("refused", why)
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
        local_rank = self._fork()
        try:
            self._become(self.ranks[local_rank])
        except Exception as error:
            os.write(2, f"accel: the fork can't become its rank: {type(error).__name__}: {error}\n".encode())
            os._exit(126)

    def _customize(self) -> None:
        """Run the site's own customization now: it precedes all imports and can change where modules are found."""
        import site

        customized("sitecustomize")
        if site.ENABLE_USER_SITE:
            customized("usercustomize")

    def _import(self) -> None:
        self.seeds = self.safety.Seeds()  # first: what it needs must not come from the script's folder
        if self.parked is not None:
            self.files = self.freshness.Files()
        path = first_path()
        if path is not None:
            sys.path.insert(0, path)
        before = self.safety.Look(self.seeds)
        for word in self.modules:
            module, _, name = word.partition(":")
            self.report("importing", module)
            with self.safety.Reads(self.own) as reads:
                try:
                    __import__(module, {}, {}, (name,) if name else ())
                    if name:
                        getattr(sys.modules[module], name)
                except BaseException as error:
                    self.refuse(f"importing {word} failed with {type(error).__name__}: {error}")
            now = self.safety.Look(self.seeds)
            obstacle = now.obstacle(before)
            if obstacle:
                self.refuse(f"{module} {obstacle}")
            before = now
            for variable in reads.found:
                self.report("late", f"{module} reads {variable}")
        self.seeds.close()
        if self.files is not None:
            self.files.close()
        if path is not None:
            sys.path.remove(path)

    def _fork(self) -> int:
        """Fork the ranks and end; return in each of them its local rank."""
        freeze()
        if self.parked is not None:
            local_rank = self.parked.fork()
            if local_rank is not None:
                return local_rank
        pids: list[int] = []
        for local_rank in range(len(self.ranks)):
            try:
                pid = os.fork()
            except OSError as error:
                self.refuse(f"the system starts no more processes: {error.strerror}")
            if pid == 0:
                return local_rank
            pids.append(pid)
        for pid in pids:
            self.report("forked", pid)
        if self.staying is not None:
            self.staying.stay(self, pids)
        os._exit(0)

    def _become(self, rank: dict[str, Any]) -> None:
        """Become this rank: set its own streams and variables, then wait for the guardian."""
        os.setpgid(0, 0)
        for target, fd in enumerate(rank["streams"]):
            os.dup2(fd, target, inheritable=True)
        for fd in {self.events, *(fd for other in self.ranks for fd in other["streams"])} - {-1}:
            os.close(fd)
        for fd, name in enumerate(("stdin", "stdout", "stderr")):
            reopen(getattr(sys, name), fd)
        set_variables(rank["environ"], self.own)
        renew_main()
        self.seeds.renew()
        self._wait()

    def _wait(self) -> None:
        """Wait until the guardian is the parent, if it can be, and die with the parent from then on."""
        opened = os.read(self.gate, 1)
        os.close(self.gate)
        if not opened:
            os._exit(128 + self.prctl.SIGKILL)
        self.prctl.die_with(self.guardian)
        self.prctl.let_read(self.launcher)


def interrupted() -> NoReturn:
    """End a rank by the SIGINT that came before its script: by that signal, without a traceback of ours."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGINT)
    os._exit(128 + signal.SIGINT)


def freeze() -> None:
    """Keep the collector of garbage away from what was imported.

    It marks each object that it visits, at the end of a process at the latest; in a rank that would copy all of the
    memory that the ranks share.
    """
    new = "gc" not in sys.modules
    __import__("gc").freeze()
    if new:
        del sys.modules["gc"]


def renew_main() -> None:
    """Have the script run in a module that isn't frozen, so that at the end its garbage is collected as always."""
    old = sys.modules["__main__"]
    new: Any = type(sys)("__main__")
    new.__dict__.update(old.__dict__)
    sys.modules["__main__"] = new


def customized(name: str) -> None:
    """Import the site's or the user's own customization as `site` does, if there is one."""
    if sys.modules.get(name) is OURS:
        del sys.modules[name]
    try:
        __import__(name)
    except ImportError as error:
        if error.name != name:
            raise


def first_path() -> str | None:
    """Return what Python will put first on `sys.path` when it comes to the script; None with safe paths."""
    if getattr(sys.flags, "safe_path", False):
        return None
    if sys.argv[0] == "-m":
        return os.getcwd()
    script = os.path.realpath(sys.argv[0])
    return os.path.dirname(script) if is_source(script) else sys.argv[0]


def is_source(script: str) -> bool:
    """Return whether a script is one source file rather than a folder or an archive with a ``__main__``."""
    import zipimport

    if os.path.isdir(script):
        return False
    try:
        zipimport.zipimporter(script)
    except zipimport.ZipImportError:
        return True
    return False


def reopen(stream: Any, fd: int) -> None:
    """Open a standard stream again on the rank's own descriptor, as Python does, in the object that modules hold."""
    if stream is None:
        return
    encoding, errors, mode, direct = stream.encoding, stream.errors, stream.mode, stream.write_through
    buffer: Any = open(fd, "rb" if fd == 0 else "wb", 0 if direct and fd else -1, closefd=False)  # noqa: SIM115
    raw = getattr(buffer, "raw", buffer)
    raw.name = f"<{('stdin', 'stdout', 'stderr')[fd]}>"
    lines = not direct and (raw.isatty() or fd == 2)  # noqa: PLR2004
    stream.__init__(buffer, encoding, errors, "\n", lines, direct)
    stream.mode = mode


def set_variables(environ: dict[str, str], own: list[str]) -> None:
    """Set the rank's own variables, in the order of a plain start; variables that imports changed stay changed."""
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
missing: ModuleNotFoundError | None = ModuleNotFoundError(f"No module named {__name__!r}", name=__name__)
try:
    if "ACCEL_FORK_SERVER" in os.environ:
        ForkServer(os.environ["ACCEL_FORK_SERVER"]).run()
    missing = missing if sys.modules.get(__name__) in (OURS, None) else None
except KeyboardInterrupt:
    interrupted()
except Exception:
    os._exit(1)
# If the site has no customization of its own: `site` skips one that doesn't exist, so this file leaves no trace.
if missing is not None:
    try:  # Python looks for signals where something is called: from here on nothing is
        raise missing
    finally:
        del missing
