"""What is installed here, and the command that installs more, from where this installation came, with its installer.

Every hint of every package takes its command from here, so that it works for an index, a folder of wheels, a clone
and a git address, with pip, uv and pipx.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

OURS = ("accel-cli", "accel-launch", "accel-config", "accel-estimate", "accel-tpu", "accel-sagemaker")
LIBRARIES = {
    "yaml": "pyyaml",
    "rich": "rich",
    "huggingface_hub": "huggingface-hub",
    "boto3": "boto3",
    "botocore": "boto3",
    "pathspec": "pathspec",
}
"""The modules of others that our packages need, and the distributions that have them."""
ARCHIVES = (".whl", ".tar.gz")
UNKNOWN = "(version unknown: it isn't installed as a package)"


def version(distribution: str, otherwise: str = UNKNOWN) -> str:
    """Return the installed version of a distribution; ``otherwise`` where it has none, or broken metadata."""
    from importlib import metadata

    try:
        found: str | None = metadata.version(distribution)  # None if the metadata lack it
    except (ImportError, LookupError, OSError, ValueError):
        found = None
    return found or otherwise


def quick_version(distribution: str) -> str:
    """Return the same by the name of its folder: the module for metadata takes longer to load than a launch."""
    begin, end = f"{distribution.replace('-', '_')}-", ".dist-info"
    for path in sys.path:
        try:
            names = os.listdir(path)
        except OSError:
            continue
        for name in names:
            if name.startswith(begin) and name.endswith(end):
                return name[len(begin) : -len(end)]
    return version(distribution, "")


def command(*requirements: str, python: str | None = None, upgrade: bool = False) -> str:
    """Return the command that installs the requirements, such as ``accel-launch[fp8]`` or ``torch``.

    It installs them for the interpreter ``python``, or else for this one.
    """
    import shlex

    own = python is None or python == sys.executable
    words = [*(_own_installer() if own else _installer_of(str(python))), *(["-U"] if upgrade else [])]
    return shlex.join([*words, *(word for requirement in requirements for word in _source(requirement))])


def remedy(error: ModuleNotFoundError) -> str:
    """Return what to print about a missing module, if it is of a library that our packages need; else nothing."""
    library = LIBRARIES.get((error.name or "").partition(".")[0])
    return f"{library} isn't installed; run: {command(library)}" if library else ""


def _own_installer() -> list[str]:
    """Return the beginning of the command that installs into this environment."""
    import shutil
    from importlib.util import find_spec

    if os.path.exists(os.path.join(sys.prefix, "pipx_metadata.json")):
        return ["pipx", "inject", os.path.basename(sys.prefix)]
    if find_spec("pip") is None:
        return ["uv", "pip", "install", "--python", sys.executable]
    pip = shutil.which("pip")
    nearest = pip is not None and os.path.dirname(pip) == os.path.dirname(sys.executable)
    return [*(["pip"] if nearest else [sys.executable, "-m", "pip"]), "install", *_system_flags()]


def _system_flags() -> list[str]:
    """Return the flags with which pip installs where we are, if that is the user's folder of a system's Python."""
    import site
    import sysconfig

    if sys.prefix != sys.base_prefix:
        return []
    managed = os.path.exists(os.path.join(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED"))
    user = __file__.startswith(os.path.join(site.getusersitepackages(), ""))
    return [*(["--user"] if user else []), *(["--break-system-packages"] if managed else [])]


def _installer_of(python: str) -> list[str]:
    """Return the beginning of the command that installs for another interpreter; environments of uv have no pip."""
    try:
        with open(os.path.join(os.path.dirname(os.path.dirname(python)), "pyvenv.cfg"), encoding="utf-8") as file:
            of_uv = any(line.partition("=")[0].strip() == "uv" for line in file)
    except (OSError, ValueError):
        of_uv = False
    return ["uv", "pip", "install", "--python", python] if of_uv else [python, "-m", "pip", "install"]


def _source(requirement: str) -> list[str]:
    """Return the words for a requirement: one of our packages comes from where it, or another of ours, came."""
    name, bracket, extras = requirement.partition("[")
    if name not in OURS:
        return [requirement]
    for installed in (name, *(one for one in OURS if one != name)):
        try:
            found = _place(name, bracket + extras, _origin(installed), own=installed == name)
        except (KeyError, TypeError, AttributeError, ValueError):  # another installer writes what it likes
            continue
        if found:
            return found
    return [requirement]


def _origin(distribution: str) -> dict[str, Any]:
    """Return where a distribution was installed from, as its installer wrote down; nothing if from an index."""
    import json
    from importlib.metadata import distribution as find

    try:
        found = json.loads(find(distribution).read_text("direct_url.json") or "{}")
    except (ImportError, OSError, ValueError):
        return {}
    return found


def _place(name: str, extras: str, origin: dict[str, Any], *, own: bool) -> list[str]:
    """Return the words that install ``name`` from the place that ``origin`` describes, or none.

    ``own``: the place is that of ``name``; else that of another package, which has ours beside it.
    """
    from urllib.parse import unquote, urlsplit

    address = _without_credentials(str(origin.get("url", "")))
    if "vcs_info" in origin:
        folder = os.path.join(os.path.dirname(str(origin.get("subdirectory", ""))), name)
        version = origin["vcs_info"]
        return [f"{name}{extras} @ {version['vcs']}+{address}@{version['commit_id']}#subdirectory={folder}"]
    if not address.startswith("file:"):
        return [f"{name}{extras} @ {address}"] if address and own else []
    path = unquote(urlsplit(address).path)
    if "dir_info" not in origin:
        return [path + extras for path in _archives(path, name)][:1]
    path = path if own else os.path.join(os.path.dirname(path.rstrip("/")), name)
    if not os.path.isfile(os.path.join(path, "pyproject.toml")):
        return []
    return [*(["-e"] if origin["dir_info"].get("editable") else []), path + extras]


def _without_credentials(address: str) -> str:
    """Return an address without a name and a password before its host; git's own ``git@host`` stays."""
    scheme, mark, rest = address.partition("://")
    host, slash, path = rest.partition("/")
    user, at, bare = host.rpartition("@")
    return f"{scheme}{mark}{bare}{slash}{path}" if at and (":" in user or scheme.startswith("http")) else address


def _archives(path: str, name: str) -> Iterator[str]:
    """Yield the archives of a package in the folder of another's archive, wheels first."""
    folder = os.path.dirname(path)
    try:
        names = sorted(os.listdir(folder), reverse=True)
    except OSError:
        return
    for ending in ARCHIVES:
        start = name.replace("-", "_") + "-"
        yield from (os.path.join(folder, one) for one in names if one.startswith(start) and one.endswith(ending))
