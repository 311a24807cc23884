"""Windows: there is no supervisor, so that all of this refuses; planning asks for none of it."""

from __future__ import annotations

import os
from errno import ENOSYS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

READABLE, HUNG_UP, FOLDER = 0x1, 0x10, 0
ABSTRACT = ADOPTS = BINDS = LOOKS = ROUTES = SUPERVISES = False
METAL = False
FORKING: str | None = None
DESCRIPTORS, TICK = "", 100


def refusal(*, supervised: bool) -> str:  # noqa: ARG001
    """Return why a launch can't start its processes."""
    return "Windows only has `accelerate launch` on this machine; launch within WSL; --dry_run prints what would run"


def _missing(*_what: object) -> NoReturn:
    raise OSError(ENOSYS, os.strerror(ENOSYS))


open_handle: Any = _missing
send_by: Any = _missing
exit_status: Any = _missing
waiting: Any = _missing
processes: Any = _missing
look: Any = _missing
strays: Any = _missing
remember: Any = _missing
marks: Any = _missing
state: Any = _missing
catches: Any = _missing
usage: Any = _missing
command: Any = _missing
environ: Any = _missing
has_children: Any = _missing
await_end: Any = _missing
memory_file: Any = _missing
pipe: Any = _missing
share: Any = _missing
place: Any = _missing
clear: Any = _missing
reach: Any = _missing
locked_by: Any = _missing
private: Any = _missing
is_record: Any = _missing
scheduler: Any = _missing
age: Any = _missing
peer: Any = _missing
