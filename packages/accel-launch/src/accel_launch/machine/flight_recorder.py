"""Torch's flight recorder: a ring of the latest collectives of each rank, which NCCL's watchdog writes to a file.

Torch 2.3 and 2.5 know only the old names of its variables, 2.9 both, and that warns of the old ones. Later torches
record by default. Gloo records as well, but writes nothing of its own accord.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

ENTRIES = "2000"  # torch's own default, where it has one; less than 1 MB
NEW, OLD = "TORCH_FR", "TORCH_NCCL"
VARIABLES = {
    NEW: {"TORCH_FR_BUFFER_SIZE": ENTRIES},  # it writes on a timeout unless that is switched off
    OLD: {"TORCH_NCCL_TRACE_BUFFER_SIZE": ENTRIES, "TORCH_NCCL_DUMP_ON_TIMEOUT": "1"},
}
PLACES = {NEW: "TORCH_FR_DUMP_TEMP_FILE", OLD: "TORCH_NCCL_DEBUG_INFO_TEMP_FILE"}
SAME = (
    ("TORCH_FR_BUFFER_SIZE", "TORCH_NCCL_TRACE_BUFFER_SIZE"),
    ("TORCH_FR_DUMP_ON_TIMEOUT", "TORCH_NCCL_DUMP_ON_TIMEOUT"),
    ("TORCH_FR_DUMP_TEMP_FILE", "TORCH_NCCL_DEBUG_INFO_TEMP_FILE"),
)
"""Variables of one meaning. Torch takes the first that is set."""


def variables(names: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that switch it on, for a torch whose names begin so; those that the user has set stay."""
    return {name: text for name, text in VARIABLES.get(names, {}).items() if not _given(name, environ)}


def place(environ: Mapping[str, str]) -> tuple[str, str]:
    """Return the variable for the beginning of the files' paths, and the user's own value of it.

    Both are empty where the recorder isn't switched on.
    """
    for names, (switch, *_rest) in VARIABLES.items():
        if environ.get(switch, "0") != "0":
            return PLACES[names], _given(PLACES[names], environ)
    return "", ""


def _given(name: str, environ: Mapping[str, str]) -> str:
    """Return the value of a variable, or of another one that means the same; empty if neither is set."""
    pair = next(pair for pair in SAME if name in pair)
    return next((environ[each] for each in pair if environ.get(each)), "")
