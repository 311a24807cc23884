"""The points of memory as a file of tests/estimate/measured, and results taken into a clone."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from benchmarks.gpu_checks import results
from benchmarks.gpu_checks.areas import points

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.gpu_checks.check import Row

GIB = 1 << 30
WHY = (
    "Seen by benchmarks/gpu_check.py: models of transformers, built from these configurations with random weights; "
    "{how}. "
    "allocated and reserved are torch's peaks, device is what nvidia-smi shows of the process."
)
TRAINED = "two steps of the recipe, in one process for all points whose allocator is emptied between them"
SERVED = "a prompt and 16 tokens that transformers' generate adds, up to context_len"
PAGE = "docs/gpu.md"
TABLE = re.compile(r"(<!-- the table: [^\n]*-->\n\n).*?(?=\n\n## )", re.DOTALL)


def card(name: str) -> str:
    """Return a card's name as a file has it: NVIDIA H100 80GB HBM3 is h100-80gb-hbm3."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower().removeprefix("nvidia")).strip("-")


def source(about: dict[str, Any], figure: str, rows: list[dict[str, Any]], *, serving: bool) -> dict[str, Any]:
    """Return one source of a file of measurements: the points of one figure."""
    what = "generating with transformers' cache" if serving else "training"
    where = f"one {about['card']}, driver {about['driver']}, torch {about['torch']}"
    found = [
        {"model": one["model"], "settings": one["settings"], "measured": round(one[figure] / GIB, 4)}
        for one in rows
        if one.get(figure)
    ]
    ran_out = [{"model": one["model"], "settings": one["settings"]} for one in rows if one.get("ran_out")]
    return {
        "source": f"Accel, benchmarks/gpu_check.py: {what} on {where}",
        "url": "",
        "figure": figure,
        "unit": "GiB",
        **({"serving": True} if serving else {}),
        "settings": {"dtype": "bfloat16"} if serving else {},
        "why": WHY.format(how=SERVED if serving else TRAINED),
        "rows": found,
        **({"ran_out": ran_out} if figure == "device" and ran_out else {}),
    }


def sources(about: dict[str, Any], rows: list[Row]) -> dict[str, Any]:
    """Return the whole file: models, sources, and on what it was measured."""
    found = [row.data for row in rows if row.data and row.data.get("point")]
    trained, served = (
        [one for one in found if ("context_len" in one["settings"]) is serving] for serving in (False, True)
    )
    every = [source(about, figure, trained, serving=False) for figure in ("allocated", "reserved", "device")]
    every.append(source(about, "allocated", served, serving=True))
    return {
        "about": about,
        "models": {name: dict(points.MODELS[name]) for name in dict.fromkeys(one["model"] for one in found)},
        "sources": [one for one in every if one["rows"] or one.get("ran_out")],
    }


def save(folder: Path, about: dict[str, Any], rows: list[Row]) -> Path | None:
    """Write the file if anything was measured; return its path."""
    found = sources(about, rows)
    if not found["sources"] or not about["card"]:
        return None
    file = folder / f"gpu-{card(about['card'])}.json"
    file.write_text(json.dumps(found, indent=1) + "\n")
    return file


def keep(file: Path, root: Path) -> int:
    """Put the results of a run into a clone: the points beside the other measurements, the table into the page."""
    about, found = results.load(file)
    rows = results.flat(found)
    if about["rehearsed"] or not about["card"]:
        print("gpu_check: --keep takes the results of a run on a device")
        return 2
    page = root / PAGE
    shown = f"{results.heading(about)}\n\n{results.table(rows).rstrip()}"
    text, times = TABLE.subn(lambda it: it[1] + shown, page.read_text())
    assert times == 1, f"{PAGE} has no place for the table"
    page.write_text(text)
    print(f"written: {page}, {save(root / 'tests' / 'estimate' / 'measured', about, rows) or 'no points'}")
    return 0
