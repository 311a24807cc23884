"""Which modules are imported once, before the ranks are forked: those named, or those that the script begins with."""

from __future__ import annotations

import os
import sys

from accel_config.catalogue import Launcher
from accel_config.errors import SettingError
from accel_config.wording import said

from . import processes
from .nursery import SITE

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ast
    from collections.abc import Iterator, Sequence

    from .engines import Order

AUTO = "auto"
# What `auto` picks: slow to import, and held to every promise of docs/preload.md by tests/launch/test_preload.py.
HEAVY = frozenset(("accelerate", "numpy", "safetensors", "scipy", "sklearn", "torch", "transformers"))
# Those of them that import their parts when a name is asked for, so that the names belong to what is imported.
LAZY = frozenset(("transformers",))
# What `auto` passes over: importing these before or after the heavy ones makes no difference to either.
INDIFFERENT = frozenset(("PIL", "click", "packaging", "requests", "rich", "tqdm", "typer", "yaml"))


def chosen(order: Order) -> tuple[str, ...]:
    """Return the modules to import once for all ranks, each perhaps with a name in it (``transformers:Trainer``).

    Raises:
        AccelError: what is given are no modules, or one of them isn't there.
    """
    settings = order.settings
    text = settings[Launcher].preload or ""
    why = _needless(order)
    if why:
        order.findings.notes.append(f"{said(settings, 'preload')} has no effect: {why}")
        return ()
    if text == AUTO:
        return _begun_with(order)
    return tuple(_named(order, word) for part in text.split(",") if (word := part.strip()))


def _needless(order: Order) -> str:
    """Return why there is nothing to gain, or no way."""
    launcher = order.settings[Launcher]
    if order.laid.local == 1:
        return "one process imports its modules once anyway"
    if launcher.no_python:
        return "--no_python runs a program as it is"
    if not processes.LINUX:
        return "forking ranks safely needs Linux"
    if os.pathsep in SITE:
        return f"our own folder {SITE} can't be on PYTHONPATH, because of the colon"
    path = order.host.ask.program(launcher.python) if launcher.python else None
    if path is not None and _is_script(path):
        return f"{path} is a script, which may start Python with flags that keep us out"
    return ""


def _is_script(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(2) == b"#!"
    except OSError:
        return False


def _named(order: Order, word: str) -> str:
    """Check one of the names that were given, as far as that goes without importing anything."""
    origin = order.settings.origin("preload")
    module, colon, name = word.partition(":")
    if not all(part.isidentifier() for part in module.split(".")) or (colon and not name.isidentifier()):
        raise SettingError(
            f"{origin}: preload must be names of modules with commas between them, such as torch,transformers, "
            f"or {AUTO}, not {word!r}"
        )
    top = module.partition(".")[0]
    if order.settings[Launcher].python is None and not (_beside(order, top) or order.host.ask.module(top)):
        order.findings.here(
            f"preload {word} ({origin}): there is no module {top!r} on the path of {order.host.python}"
        )
    return word


def _beside(order: Order, top: str) -> bool:
    """Whether a module is the user's own: in the script's folder, or for ``-m`` in the current one."""
    own = order.host.cwd
    if not order.settings[Launcher].module:
        own = os.path.dirname(os.path.realpath(os.path.join(own, order.script[0])))
    return any(os.path.exists(os.path.join(own, top + end)) for end in ("", ".py"))


# What a script begins with.


def _begun_with(order: Order) -> tuple[str, ...]:
    """Return the heavy modules among the imports that the script begins with; a note says where there are none."""
    found: list[str] = []
    stop = "it imports nothing that is known to be heavy and safe"
    for path in _sources(order):
        try:
            picked, end = _imports(order, path)
        except (OSError, SyntaxError, ValueError) as error:
            stop = f"{path} can't be read: {error}"
            break
        found += picked
        if end:
            stop = end
            break
    if not found:
        order.findings.notes.append(f"{said(order.settings, 'preload')} found nothing to import once: {stop}")
    return tuple(dict.fromkeys(found))


def _sources(order: Order) -> Iterator[str]:
    """Yield the files whose lines a rank runs first, in their order."""
    folder, word = order.host.cwd, order.script[0]
    if not order.settings[Launcher].module:
        path = os.path.join(folder, word)
        yield os.path.join(path, "__main__.py") if os.path.isdir(path) else path
        return
    *packages, last = word.split(".")
    for package in packages:
        folder = os.path.join(folder, package)
        yield os.path.join(folder, "__init__.py")
    whole = os.path.join(folder, last)
    if os.path.isdir(whole):
        yield os.path.join(whole, "__init__.py")
        yield os.path.join(whole, "__main__.py")
    else:
        yield f"{whole}.py"


def _imports(order: Order, path: str) -> tuple[list[str], str]:
    """Return the heavy modules that a file begins with, and what ended the look at it, if anything did.

    It ends at the first line that may change what an import does, such as one that sets a variable: what follows it
    may not be done before it.
    """
    import ast

    with open(path, "rb") as file:
        tree = ast.parse(file.read(), path)
    found: list[str] = []
    for node in tree.body:
        modules = _modules(node)
        if modules is None:
            return found, f"line {node.lineno} of {path} comes first and may change what imports do"
        for top, words in modules:
            known = top in HEAVY or top in INDIFFERENT or top in sys.stdlib_module_names
            if not known or _beside(order, top):
                return found, f"line {node.lineno} of {path} imports {top or 'its own package'} first"
            found += words if top in HEAVY else []
    return found, ""


def _modules(node: ast.stmt) -> Sequence[tuple[str, list[str]]] | None:
    """Return what a statement imports, each by its top-level module; None for one that may do anything."""
    import ast

    if isinstance(node, ast.Import):
        return [(alias.name.partition(".")[0], [alias.name]) for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        module = "" if node.level else node.module or ""
        top = module.partition(".")[0]
        names = [alias.name for alias in node.names if alias.name != "*"] if top in LAZY else []
        return [(top, [module, *(f"{module}:{name}" for name in names)])]
    return [] if _is_constant(node) else None


def _is_constant(node: ast.stmt) -> bool:
    """Whether a statement is a docstring, or gives a name a constant."""
    import ast

    targets: list[ast.expr] = []
    if isinstance(node, ast.Assign):
        targets = node.targets
    elif isinstance(node, ast.AnnAssign):
        targets = [node.target]
    elif not isinstance(node, ast.Expr):
        return False
    return isinstance(node.value, ast.Constant) and all(isinstance(target, ast.Name) for target in targets)
