"""Runs a function of the user's script in the processes that torch_xla starts: one for each chip.

`python spawn.py all|one|spmd FUNCTION named|usual file|module SCRIPT ARGUMENTS`. The interpreter with torch_xla runs
this file by its path, and torch_xla's processes import it by its path again. So it is one file, and it imports the
standard library and torch_xla alone.

torch_xla's processes are workers of a pool. The pool reports neither how a worker ended nor, while it waits for an
earlier worker, that a later one has failed. So each worker reports through a pipe how its function ended. This
process watches the pipe and the workers' deaths, and ends as the first failed worker did.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import importlib.util
import os
import runpy
import signal
import sys
import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.process import BaseProcess
    from types import FrameType, ModuleType
    from typing import Any, NoReturn

OLDEST = (2, 9)  # version of torch_xla
REPORTS = "ACCEL_TPU_REPORTS"  # the variable with the path of the pipe
PATIENCE = 5.0  # seconds for torch_xla to notice that its processes are gone
FORWARDED = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2")
USAGE = 2
INTERRUPTED = 128 + signal.SIGINT


# The function to run.


class Target:
    """The script and its function."""

    def __init__(self, function: str, script: str, *, module: bool) -> None:
        """Run ``function`` of ``script`` (a path, or a module's name); if it is empty, the script as ``__main__``."""
        self.function, self.script, self.module = function, script, module

    def run(self, index: int) -> None:
        """Run the function in this process, the ``index``-th of all."""
        if not self.function:
            self._as_main()
            return
        function: Callable[..., object] | None = getattr(self._imported(), self.function, None)
        if not callable(function):
            print(f"accel: {self.script} has no function {self.function}", file=sys.stderr)
            raise SystemExit(USAGE)
        function(*([index] if _wants_index(function) else []))

    def _as_main(self) -> None:
        if self.module:
            runpy.run_module(self.script, run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(self.script, run_name="__main__")

    def _imported(self) -> ModuleType:
        if self.module:
            return importlib.import_module(self.script)
        name = os.path.splitext(os.path.basename(self.script))[0]  # noqa: PTH119, PTH122
        if name in sys.modules:
            name = f"accel_script_{name}"  # a script called json.py, for example, must not replace the module json
        spec = importlib.util.spec_from_file_location(name, self.script)
        if spec is None or spec.loader is None:
            raise ImportError(f"{self.script} can't be imported; give it a name that ends in .py")
        sys.modules[name] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module


def _wants_index(function: Callable[..., object]) -> bool:
    """Whether the function has one required parameter, as functions for torch_xla's own launch have."""
    import inspect

    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(1 for each in parameters if each.default is each.empty and each.kind in positional) == 1


def defines(path: str, name: str) -> bool:
    """Whether a script has ``name`` at its top level. The script is parsed, not run; if it can't be, return true."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            tree = ast.parse(file.read(), path)
    except (OSError, SyntaxError, ValueError):
        return True  # running the script reports the error
    return any(_binds(statement, name) for statement in _top(tree.body))


def _top(body: list[ast.stmt]) -> list[ast.stmt]:
    """Return the statements that run at import, those under ``if``, ``try`` and ``with`` included."""
    found: list[ast.stmt] = []
    for statement in body:
        found.append(statement)
        if _is_main_guard(statement):
            continue
        if isinstance(statement, (ast.If, ast.Try, ast.With, ast.For, ast.While)):
            for part in ("body", "orelse", "finalbody"):
                found += _top(getattr(statement, part, []))
            for handler in getattr(statement, "handlers", []):
                found += _top(handler.body)
    return found


def _is_main_guard(statement: ast.stmt) -> bool:
    """Whether the statement is ``if __name__ == "__main__":``, which an import doesn't enter."""
    return isinstance(statement, ast.If) and any(
        isinstance(node, ast.Name) and node.id == "__name__" for node in ast.walk(statement.test)
    )


def _binds(statement: ast.stmt, name: str) -> bool:
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return statement.name == name
    if isinstance(statement, (ast.Import, ast.ImportFrom)):
        return any((alias.asname or alias.name.partition(".")[0]) in (name, "*") for alias in statement.names)
    names = (node for node in ast.walk(statement) if isinstance(node, ast.Name))
    return any(node.id == name and isinstance(node.ctx, ast.Store) for node in names)


# In torch_xla's processes.


def rank_main(target: Target, index: int) -> None:
    """Run the target as one of the processes and report how it ended. torch_xla calls this in a thread."""
    os.environ["FORK_LAUNCHED"] = "1"
    _Interrupt.thread = threading.get_ident()
    _report(f"started {index} {os.getpid()}")
    _report(f"ended {index} {_status(target, index)}")


def _status(target: Target, index: int) -> int:
    try:
        target.run(index)
    except SystemExit as ended:
        return _exit_status(ended)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BaseException as error:  # the user's function may raise anything
        _print_traceback(error)
        return 1
    finally:
        sys.stdout.flush()
    return 0


def _exit_status(ended: SystemExit) -> int:
    if ended.code is None or isinstance(ended.code, int):
        return (ended.code or 0) & 0xFF
    print(ended.code, file=sys.stderr)
    return 1


def _print_traceback(error: BaseException) -> None:
    """Print the traceback from the user's first line on."""
    import traceback

    trace = error.__traceback__
    while trace is not None and _ours(trace.tb_frame.f_code.co_filename):
        trace = trace.tb_next
    traceback.print_exception(type(error), error, trace or error.__traceback__)


def _ours(path: str) -> bool:
    return path in (__file__, runpy.__file__) or path.startswith("<frozen")


def _report(line: str) -> None:
    with open(os.environ[REPORTS], "wb", buffering=0) as pipe:  # noqa: PTH123
        pipe.write(line.encode() + b"\n")


class _Interrupt:
    """The handler of SIGINT, which arrives in the main thread: it interrupts the thread of the user's function."""

    thread = 0

    def __call__(self, number: int, _frame: FrameType | None) -> None:
        import ctypes

        if not self.thread:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self.thread), ctypes.py_object(KeyboardInterrupt))


# In the process that starts torch_xla's.


class Watch(threading.Thread):
    """Watches the processes, and terminates them all when the first fails."""

    def __init__(self) -> None:
        """Open the pipe for the processes' reports; a variable gives its path."""
        super().__init__(daemon=True)
        self.code = 0
        """The exit status of the first failed process, or the negative number of its signal."""
        self.read, self.write = os.pipe()
        os.environ[REPORTS] = f"/proc/{os.getpid()}/fd/{self.write}"
        self.ending = False
        """Whether a signal ends all processes."""
        self.known: dict[int, BaseProcess] = {}
        self.handles: dict[int, int] = {}
        """A pidfd for each process: torch_xla collects them, and then another process can have the pid."""
        self.indices: dict[int, str] = {}
        self.rest = b""

    def run(self) -> None:
        """Watch until `finish` is called, or until a process fails."""
        from multiprocessing import active_children
        from multiprocessing.connection import wait

        while True:
            self._know(active_children())
            sentinels = {child.sentinel: child for child in self.known.values()}
            ready: list[Any] = wait([self.read, *sentinels], timeout=2.0 if self.indices else 0.2)
            # Reports come first: a process whose function failed reports that before it dies.
            over = self.read in ready and self._receive()
            for child in sorted((sentinels[each] for each in ready if each in sentinels), key=_terminated):
                self._died(child)
            if over or (self.code and not self.ending):
                return

    def _know(self, children: list[BaseProcess]) -> None:
        for child in children:
            if child.pid and child.pid not in self.known:
                with contextlib.suppress(OSError):
                    self.handles[child.pid] = os.pidfd_open(child.pid)
                self.known[child.pid] = child

    def _receive(self) -> bool:
        """Read the processes' reports; return whether torch_xla has finished."""
        *lines, self.rest = (self.rest + os.read(self.read, 65536)).split(b"\n")
        for line in lines:
            match line.decode().split():
                case ["started", index, pid]:
                    self.indices[int(pid)] = index
                case ["ended", index, status] if status != "0":
                    self._failed(int(status), f"process {index}: exit status {status}")
                case _:
                    pass
        return b"finished" in lines

    def _died(self, child: BaseProcess) -> None:
        """Record a death by a signal or by an exit past Python; a worker that has finished exits with 0."""
        self.known.pop(child.pid or 0, None)
        if code := child.exitcode:
            index = self.indices.get(child.pid or 0, "?")
            how = f"exit status {code}" if code > 0 else f"terminated by {signal.Signals(-code).name}"
            self._failed(code, f"process {index}: {how}")

    def _failed(self, code: int, how: str) -> None:
        """Terminate the other processes; torch_xla then stops waiting, or else this process leaves by itself."""
        if self.code:
            return
        self.code = -signal.SIGINT if code == INTERRUPTED else code
        if self.ending:
            return  # all of them have received the signal, and have the launcher's grace
        others = [child for child in self.known.values() if child.is_alive()]
        if len(self.indices) > 1:
            print(f"accel: {how}, the first of {len(self.indices)} to fail", file=sys.stderr, flush=True)
        for child in others:
            child.terminate()
        patience = threading.Timer(PATIENCE, leave, [self.code])
        patience.daemon = True
        patience.start()

    def finish(self) -> int:
        """Wait until every report is read; return the code of the first failed process, or 0."""
        os.write(self.write, b"finished\n")
        self.join()
        return self.code

    def forward(self, number: int, _frame: FrameType | None) -> None:
        """Forward a signal to the processes."""
        self.ending = self.ending or number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
        for handle in list(self.handles.values()):
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, number)


def _terminated(child: BaseProcess) -> bool:
    """Whether SIGTERM ended the process. The pool sends it to all others when one dies; that one must sort first."""
    while child.exitcode is None:  # another thread may be reaping it at this instant
        child.join(0.05)
    return child.exitcode == -signal.SIGTERM


def leave(code: int) -> NoReturn:
    """End this process from any thread, with exit status ``code`` or by the signal ``-code``."""
    if code >= 0:
        os._exit(code)
    if -code != signal.SIGKILL:
        import ctypes

        # Python sets signal handlers in the main thread only, which may be waiting in torch_xla.
        ctypes.CDLL(None).signal(-code, None)
    os.kill(os.getpid(), -code)
    os._exit(128 - code)


def main(words: list[str]) -> int:
    """Run the function that the command line names, and return the exit status."""
    processes, function, named, kind, script, *arguments = words
    module = kind == "module"
    sys.argv = [script, *arguments]
    sys.path[0] = os.getcwd() if module else os.path.dirname(os.path.abspath(script))  # noqa: PTH100, PTH109, PTH120
    if message := _unusable():
        print(f"accel: {message}", file=sys.stderr)
        return USAGE
    path = _source(script) if module else script
    defined = path is None or os.path.isdir(path) or defines(path, function)  # noqa: PTH112
    if not defined and named == "named":
        print(f"accel: {script} has no function {function} (--main_training_function)", file=sys.stderr)
        return USAGE
    if path is not None and os.path.isdir(path):  # noqa: PTH112  a folder with a __main__.py can't be imported
        defined = False
    target = Target(function if defined else "", script, module=module)
    if processes == "spmd":
        os.environ["FORK_LAUNCHED"] = "1"
        return _status(target, 0)
    return _launch(target, one=processes == "one")


def _launch(target: Target, *, one: bool) -> int:
    import functools

    import torch_xla  # pyright: ignore[reportMissingImports]

    launch: Callable[..., None] = torch_xla.launch  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
    if one:
        found: list[int] = []
        os.environ["FORK_LAUNCHED"] = "1"

        def alone(index: int) -> None:
            found.append(_status(target, index))

        launch(alone, debug_single_process=True)
        return found[0]
    watch = Watch()
    watch.start()
    for name in FORWARDED:
        signal.signal(getattr(signal, name), watch.forward)
    try:
        launch(functools.partial(rank_main, target))
    except BaseException:
        if not watch.finish():  # torch_xla's error says less than the first failed process
            raise
    return watch.finish()


def _source(module: str) -> str | None:
    """Return the file of a module, or None if it can't be found."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, AttributeError, ValueError):
        return None
    if spec is not None and spec.submodule_search_locations:
        main = importlib.util.find_spec(f"{module}.__main__")
        return spec.origin if main is None else main.origin
    return spec.origin if spec is not None else None


def _unusable() -> str:
    """Return what is wrong with the installed torch_xla and what to install, or an empty text."""
    from importlib.metadata import PackageNotFoundError, version

    need = "pip install 'torch==2.9.*' 'torch_xla==2.9.*' (on a TPU VM: 'torch_xla[tpu]==2.9.*')"
    try:
        found = version("torch_xla") or "without a version"
        torch = version("torch") or "without a version"
    except PackageNotFoundError as missing:
        return f"{missing.name} isn't installed for {sys.executable}; run: {need}"
    if _numbers(found) < OLDEST:
        return f"torch_xla {found} is too old; run: {need}"
    if _numbers(found) != _numbers(torch):
        return f"torch_xla {found} needs the same version of torch, not {torch}; run: {need}"
    return ""


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.partition("+")[0].split(".")[:2] if part.isdecimal())


if __name__ == "__main__":
    _code = main(sys.argv[1:])
    if _code < 0:
        import atexit

        atexit._run_exitfuncs()  # removes multiprocessing's files in /dev/shm
        leave(_code)
    sys.exit(_code)
if __name__ == "__mp_main__":  # one of torch_xla's processes, in its main thread
    signal.signal(signal.SIGINT, _Interrupt())
