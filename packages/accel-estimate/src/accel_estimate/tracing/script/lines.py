"""The user's own line that runs now."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType, TracebackType

_OTHERS = ("site-packages", "dist-packages")
_OURS = ("/torch/", "/accel_estimate/", "<frozen", "/contextlib.py")


class Lines:
    """Tells lines of a script, and of files in its folder, from those of libraries."""

    def __init__(self, script: str) -> None:
        """Begin with the script's path."""
        self.folder = os.path.dirname(os.path.abspath(script))  # noqa: PTH100, PTH120 - asked for each allocation
        self.guesses: dict[str, None] = {}
        self.decisions: dict[str, None] = {}
        self._names: dict[CodeType, str] = {}

    def name(self, code: CodeType) -> str:
        """Return the file of code, seen from the script's folder; an empty string if it isn't the user's."""
        found = self._names.get(code)
        if found is None:
            path = os.path.abspath(code.co_filename)  # noqa: PTH100
            own = (
                not code.co_filename.startswith("<")
                and path.startswith(self.folder + os.sep)
                and not any(word in path for word in _OTHERS)
            )
            found = self._names[code] = os.path.relpath(path, self.folder) if own else ""
        return found

    def here(self) -> str:
        """Return the innermost line of the user, such as ``train.py:88``; an empty string if there is none."""
        frame = sys._getframe(1)
        while frame is not None:
            if name := self.name(frame.f_code):
                return f"{name}:{frame.f_lineno}"
            frame = frame.f_back
        return ""

    def guessed(self) -> None:
        """Note that a whole number was read that isn't known: sizes may depend on it."""
        self.guesses[self.here()] = None

    def decided(self) -> None:
        """Note that the script went on by a comparison whose numbers aren't known."""
        self.decisions[self.here()] = None

    def of(self, traceback: TracebackType | None) -> str:
        """Return the user's line that an exception passed last, and the line of a library that it came from."""
        found, library = "", ""
        while traceback is not None:
            code = traceback.tb_frame.f_code
            if name := self.name(code):
                found, library = f"{name}:{traceback.tb_lineno}", ""
            elif not any(part in code.co_filename for part in _OURS):
                library = f"{code.co_filename}:{traceback.tb_lineno}"
            traceback = traceback.tb_next
        return f"{found}, in {library}," if found and library else found or library
