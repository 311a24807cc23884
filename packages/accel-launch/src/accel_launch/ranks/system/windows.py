"""Windows: there is no supervisor, so that all of this refuses; planning asks for none of it."""

from __future__ import annotations

import os
from errno import ENOSYS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

READABLE, HUNG_UP, FOLDER = 0x1, 0x10, 0
ABSTRACT = ADOPTS = False


def refusal(*, supervised: bool) -> str:  # noqa: ARG001
    """Return why a launch can't start its processes."""
    return "Windows starts nothing, so far: launch within WSL; --dry_run prints what would run"


def _missing(*_what: object) -> NoReturn:
    raise OSError(ENOSYS, os.strerror(ENOSYS))


open_handle: Any = _missing
send_by: Any = _missing
waiting: Any = _missing
pids: Any = _missing
has_children: Any = _missing
await_end: Any = _missing
memory_file: Any = _missing
scheduler: Any = _missing
since_boot: Any = _missing
peer: Any = _missing
