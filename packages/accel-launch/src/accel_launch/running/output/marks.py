"""What stands before each line of a rank's output."""

from __future__ import annotations

import os

TORCHRUNS = "[${role_name}${local_rank}]:"
"""Before each line with ``--tee``, unless the variable sets another mark, as for torchrun."""
VARIABLE = "TORCHELASTIC_LOG_LINE_PREFIX_TEMPLATE"


def ranks(host: str) -> str:
    """Return what ``--prefix`` puts before each line; ``${rank}`` in it stands for the rank."""
    return f"[{host}:${{rank}}] " if host else "[${rank}] "


def torchruns(role: str, local: int) -> str:
    """Return torchrun's mark of a local rank; ``${rank}`` in it stands for its rank."""
    mark = os.environ.get(VARIABLE) or TORCHRUNS
    values = {"role_name": role, "local_rank": str(local), "hostname": os.uname().nodename}
    for name, value in values.items():
        mark = mark.replace(f"${{{name}}}", value).replace(f"${name}", value)
    return mark


def filled(mark: str, rank: int) -> bytes:
    """Return a mark for a rank: one line that doesn't change what the terminal shows."""
    text = mark.replace("${rank}", str(rank)).replace("$rank", str(rank))
    return "".join(letter if letter.isprintable() else " " for letter in text).encode(errors="replace")
