"""A rank under a debugger: ``debug_rank`` and ``debug_port``."""

from __future__ import annotations

from accel_config.catalogue import Launcher
from accel_config.checking.ranks import LAST
from accel_config.settings.readers import natural
from accel_config.showing.wording import describe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_config.settings.resolved import Settings

LOOPBACK = "127.0.0.1"
PORTS = range(1, 1 << 16)
AWAY = ("hosts", "slurm", "kubernetes", "submit", "tpu_cluster")
"""Settings with which no rank is below this launcher."""


def names(settings: Settings) -> tuple[str, ...]:
    """Return which of the two settings are given."""
    return tuple(name for name in ("debug_rank", "debug_port") if settings.value(name).value is not None)


def listening(text: str) -> tuple[str, int]:
    """Read where to listen, ``5678``, ``0.0.0.0:5678`` or ``[::1]:5678``.

    Raises:
        ValueError: it isn't an address and a port.
    """
    host, colon, port = text.strip().rpartition(":")
    number = natural(port)
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if number is None or number not in PORTS or bool(colon) != bool(bare) or (":" in host and bare == host):
        raise ValueError(f"{text!r} isn't PORT or ADDRESS:PORT, such as 5678")
    return bare or LOOPBACK, number


def invalid(settings: Settings) -> str:
    """Return why one of the two isn't valid."""
    rank, port = settings[Launcher].debug_rank, settings[Launcher].debug_port
    if rank is not None and rank != LAST and natural(rank) is None:
        return f"{settings.origin('debug_rank')}: debug_rank is one rank, such as 0 or {LAST}, not {rank!r}"
    try:
        listening(port or "1")
    except ValueError as error:
        return f"{settings.origin('debug_port')}: debug_port {error}"
    return ""


def contradicting(settings: Settings) -> str:
    """Return what can't go together with them."""
    wrong = {name: "its ranks aren't below this launcher" for name in AWAY if settings.value(name).value}
    if settings[Launcher].debug_port is None:
        if settings.value("detach").value:
            wrong["detach"] = "a detached run has no terminal"
    else:
        if settings[Launcher].no_python:
            wrong["no_python"] = "debugpy is for Python"
        if settings[Launcher].preload:
            wrong["preload"] = "ranks that are forked from one process can't begin under debugpy"
    for name, why in wrong.items():
        return f"{describe(settings, *names(settings), name)}: {why}; leave out {name}"
    return ""
