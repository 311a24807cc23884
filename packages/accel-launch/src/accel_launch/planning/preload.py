"""The modules to import once, before the ranks are forked: those named, or those that the script begins with."""

from __future__ import annotations

import os
import sys

from accel_config.catalogue import Launcher
from accel_config.errors import SettingError
from accel_config.showing.wording import describe
from accel_launch.ranks import FORK_SERVER
from accel_launch.ranks.system import calls

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ast
    from collections.abc import Iterator, Sequence

    from accel_launch.engines.context import LaunchContext

AUTO = "auto"
OLDEST = (3, 8)  # the first version of Python that can be the fork server
VERSION = (
    "import sys; f = sys.flags; found = sys.version_info[0], sys.version_info[1], f.ignore_environment or f.no_site; "
    "sys.stdout.write('accel %d %d %d' % found)"
)
"""Prints the version of Python, in every version, and whether it ignores what makes it the fork server."""
# What `auto` picks: slow to import, and tested with every promise of docs/preload.md (tests/launch/test_preload.py).
HEAVY = frozenset(("accelerate", "numpy", "safetensors", "scipy", "sklearn", "torch", "transformers"))
# Those of them that import a part when one of its names is used, so names are imported too.
LAZY = frozenset(("transformers",))
# What `auto` skips: whether these are imported before or after the heavy ones makes no difference.
INDIFFERENT = frozenset(("PIL", "click", "packaging", "requests", "rich", "tqdm", "typer", "yaml"))


def chosen(context: LaunchContext) -> tuple[str, ...]:
    """Return the modules to import once for all ranks, each perhaps with a name in it (``transformers:Trainer``).

    Raises:
        AccelError: a word isn't a module's name, or a module isn't installed.
    """
    settings = context.settings
    text = settings[Launcher].preload or ""
    reason = _useless(context)
    if reason:
        context.findings.notes.append(f"{describe(settings, 'preload')} has no effect: {reason}")
        return ()
    named = (word for part in text.split(",") if (word := part.strip()))
    found = _begun_with(context) if text == AUTO else tuple(_named(context, word) for word in named)
    if found and calls.FORKING:
        context.findings.notes.append(f"{describe(settings, 'preload')}: {calls.FORKING}")
    return found


def warmth(context: LaunchContext) -> float:
    """Return for how many seconds what was imported is kept after the run."""
    seconds = float(context.settings[Launcher].keep_warm or 0)
    if seconds and not calls.ADOPTS:
        described = describe(context.settings, "keep_warm")
        context.findings.notes.append(f"{described} has no effect: only Linux lets a later run adopt ranks")
        return 0.0
    return seconds


def _useless(context: LaunchContext) -> str:
    """Return why preloading gains nothing, or isn't possible."""
    launcher = context.settings[Launcher]
    if context.layout.local == 1:
        return "one process imports its modules once anyway"
    if launcher.no_python:
        return "--no_python runs a program as it is"
    if calls.FORKING is None:
        return "this system can't fork ranks"
    if os.pathsep in FORK_SERVER:
        return f"the launcher's folder {FORK_SERVER} can't be on PYTHONPATH, because of the colon"
    return _unable(context, os.path.expanduser(launcher.python)) if launcher.python else ""


def _unable(context: LaunchContext, python: str) -> str:
    """Return why another interpreter can't be the fork server: it would run the script once more, as no rank."""
    programs = context.host.probe.programs
    path = python if os.sep in python else programs.find(python)
    if path is None:
        return ""  # its start will fail
    if _is_script(path):
        return f"{path} is a script, which may start Python with flags that prevent it"
    words = programs.output(path, "-c", VERSION).split()
    if words[:1] != ["accel"]:
        return f"{path} doesn't answer as Python does"
    major, minor, ignoring = map(int, words[1:])
    if (major, minor) < OLDEST:
        return f"{path} is Python {major}.{minor}, and forking from it needs {OLDEST[0]}.{OLDEST[1]} or later"
    return f"{path} ignores PYTHONPATH, by which it would become the process to fork from" if ignoring else ""


def _is_script(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(2) == b"#!"
    except OSError:
        return False


def _named(context: LaunchContext, word: str) -> str:
    """Check one of the names, as far as possible without importing anything."""
    origin = context.settings.origin("preload")
    module, colon, name = word.partition(":")
    if not all(part.isidentifier() for part in module.split(".")) or (colon and not name.isidentifier()):
        raise SettingError(
            f"{origin}: preload must be names of modules, separated by commas, such as torch,transformers, "
            f"or {AUTO}, not {word!r}"
        )
    top = module.partition(".")[0]
    if context.settings[Launcher].python is None and not (
        _beside(context, top) or context.host.probe.packages.has(top)
    ):
        context.findings.refuse_locally(
            f"preload {word} ({origin}): there is no module {top!r} on the path of {context.host.python}"
        )
    return word


def _beside(context: LaunchContext, top: str) -> bool:
    """Whether a module is the user's own: in the script's folder, or with ``-m`` in the current one."""
    own = context.host.cwd
    if not context.settings[Launcher].module:
        own = os.path.dirname(os.path.realpath(os.path.join(own, context.script[0])))
    return any(os.path.exists(os.path.join(own, top + end)) for end in ("", ".py"))


# The imports at the top of a script.


def _begun_with(context: LaunchContext) -> tuple[str, ...]:
    """Return the heavy modules among the imports at the top of the script; note those that come too late."""
    found: list[str] = []
    late: list[str] = []
    end = ""
    for path in _sources(context):
        try:
            picked, stop, rest = _imports(context, path)
        except (OSError, SyntaxError, ValueError) as error:
            end = end or f"{path} can't be read: {error}"
            break
        late += rest if not end else [*picked, *rest]
        found += picked if not end else []
        end = end or stop
    late = [word for word in dict.fromkeys(late) if word not in found]
    given = describe(context.settings, "preload")
    if late:
        names = ", ".join(late)
        some = ", ".join(dict.fromkeys(found))
        once = f"imports {some} once, but not {names}" if found else f"doesn't import {names} once"
        context.findings.notes.append(f"{given} {once}: {end}; --preload NAMES imports modules first all the same")
    elif not found:
        why = end or "the script begins with importing none of " + ", ".join(sorted(HEAVY))
        context.findings.notes.append(f"{given} found nothing to import once: {why}")
    return tuple(dict.fromkeys(found))


def _sources(context: LaunchContext) -> Iterator[str]:
    """Yield the files that a rank runs first, in their order."""
    folder, word = context.host.cwd, context.script[0]
    if not context.settings[Launcher].module:
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


def _imports(context: LaunchContext, path: str) -> tuple[list[str], str, list[str]]:
    """Return the heavy modules that a file begins with, what ended the search, if anything did, and those after that.

    The search ends at the first line that may change what an import does, such as one that sets a variable: imports
    that follow it must not be done before it.
    """
    import ast

    with open(path, "rb") as file:
        tree = ast.parse(file.read(), path)
    found: list[str] = []
    late: list[str] = []
    stop = ""
    for node in tree.body:
        modules = _modules(node)
        if modules is None:
            stop = stop or f"line {node.lineno} of {path} comes first and may change what imports do"
        for top, words in modules or ():
            heavy = top in HEAVY and not _beside(context, top)
            known = heavy or ((top in INDIFFERENT or top in sys.stdlib_module_names) and not _beside(context, top))
            if not known:
                stop = stop or f"line {node.lineno} of {path} imports {top or 'its own package'} first"
            if heavy:
                (late if stop else found).extend([words[0]] if stop else words)
    return found, stop, late


def _modules(node: ast.stmt) -> Sequence[tuple[str, list[str]]] | None:
    """Return what a statement imports, by top-level module; None for one that may do anything."""
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
    """Whether a statement is a docstring, or assigns a constant to a name."""
    import ast

    targets: list[ast.expr] = []
    if isinstance(node, ast.Assign):
        targets = node.targets
    elif isinstance(node, ast.AnnAssign):
        targets = [node.target]
    elif not isinstance(node, ast.Expr):
        return False
    return isinstance(node.value, ast.Constant) and all(isinstance(target, ast.Name) for target in targets)
