"""Whose a script on PATH is: Hugging Face's distribution has one called `accelerate` as well, and the later wins."""

from __future__ import annotations

from pathlib import Path

LARGEST = 10_000  # bytes; what installers write is a few hundred


def owner(script: str) -> str:
    """Return the distribution whose entry point the script at the path starts; `unknown` where none here does.

    Installers write a few lines that import the entry point; nothing else in an environment tells two distributions
    with scripts of one name apart.
    """
    from importlib.metadata import entry_points

    path = Path(script)
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            text = file.read(LARGEST)
    except OSError:
        return "unknown"
    for point in entry_points(group="console_scripts", name=path.name):
        if point.dist is not None and f"from {point.module} import " in text:
            return point.dist.name
    return "unknown"
