"""Makes `python -m accelerate.commands.X` find our stand-ins, where nothing else provides that module.

`accel_cli_compat.pth` imports this at the interpreter's start, and only when its command line mentions such a module.
In any other process no module is called `accelerate` because of us: `transformers`, for one, fails to import when it
finds one without a distribution of that name. Hugging Face's library, installed in the same environment, is always
found before us: we are asked last.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec

PACKAGE = "accelerate"
PREFIX = f"{PACKAGE}.commands."
WITH_ARGUMENT = "WX"  # options of the interpreter that take the rest of their word, or the next one


def asked(words: Sequence[str]) -> str | None:
    """Return the module that an interpreter's command line runs with ``-m``, None where it runs none."""
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
    """Return the option in a word of short ones that takes an argument, and what follows it there."""
    for place, option in enumerate(word[1:], start=2):
        if option in WITH_ARGUMENT + "mc":
            return option, word[place:]
    return "", ""


class _Finder:
    """Finds the stand-in for the package; its modules are then found through its own path."""

    @staticmethod
    def find_spec(name: str, _path: object = None, _target: object = None) -> ModuleSpec | None:
        """Answer for the package alone."""
        if name != PACKAGE:
            return None
        from importlib.machinery import PathFinder

        return PathFinder.find_spec(name, [__file__.removesuffix("_compat_path.py") + "_compat"])


def enter(words: Sequence[str]) -> None:
    """Be ready to provide the module that the command line ``words`` runs."""
    if (asked(words) or "").startswith(PREFIX):
        sys.meta_path.append(_Finder)


def leave() -> None:
    """Take the stand-in away again."""
    if _Finder in sys.meta_path:
        sys.meta_path.remove(_Finder)
    for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
        del sys.modules[name]


enter(sys.orig_argv)
