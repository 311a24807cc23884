"""Lets `python -m accelerate.commands.X` find our stand-ins if nothing else provides that module.

`accel_cli_compat.pth` imports this when the interpreter starts, but only if the command line names such a module. In
any other process there is no module `accelerate` of ours: `transformers`, for example, fails to import if it finds
one without a distribution of that name. Hugging Face's library in the same environment is always found first, because
our finder is the last.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec

PACKAGE = "accelerate"
PREFIX = f"{PACKAGE}.commands."
WITH_ARGUMENT = "WX"  # options of the interpreter whose argument is the rest of the word, or the next word


def requested(words: Sequence[str]) -> str | None:
    """Return the module that an interpreter's command line runs with ``-m``, or None."""
    rest = iter(words[1:])
    for word in rest:
        if word == "--check-hash-based-pycs":
            next(rest, "")
        elif not word.startswith("-") or word in ("-", "--"):
            return None
        elif not word.startswith("--"):
            option, text = _ending(word)
            if option == "m":
                return text or next(rest, None)
            if option == "c":
                return None
            if option and not text:
                next(rest, "")
    return None


def _ending(word: str) -> tuple[str, str]:
    """Return the option with an argument in a word of short options, and the rest of the word after it."""
    for place, option in enumerate(word[1:], start=2):
        if option in WITH_ARGUMENT + "mc":
            return option, word[place:]
    return "", ""


class _Finder:
    """Finds the stand-in package; its modules are then found through its own path."""

    @staticmethod
    def find_spec(name: str, _path: object = None, _target: object = None) -> ModuleSpec | None:
        """Return the spec of the package, and of nothing else."""
        if name != PACKAGE:
            return None
        from importlib.machinery import PathFinder

        return PathFinder.find_spec(name, [__file__.removesuffix("_compat_path.py") + "_compat"])


def enter(words: Sequence[str]) -> None:
    """Install the finder if the command line ``words`` runs one of the modules."""
    if (requested(words) or "").startswith(PREFIX):
        # What ``-m`` imports, while the current folder isn't on the path yet: a types.py there would end it.
        import runpy  # noqa: F401  # pyright: ignore[reportUnusedImport]

        sys.meta_path.append(_Finder)


def leave() -> None:
    """Remove the finder and the stand-in package."""
    if _Finder in sys.meta_path:
        sys.meta_path.remove(_Finder)
    for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
        del sys.modules[name]


enter(sys.orig_argv)
