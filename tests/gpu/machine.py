"""A machine with the driver of one H100, as checks see it, and what its commands print."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

sys.path.insert(0, str(ROOT))

from benchmarks.gpu_checks.bench import GIB, Bench, Done
from benchmarks.gpu_checks.check import Row

SMI = """#!{python} -IS
import sys
ANSWERS = {answers!r}
for asked, text in ANSWERS.items():
    if any(asked in word for word in sys.argv[1:]):
        print(text)
        sys.exit(not text)
sys.exit("not a valid field to query")
"""
H100 = "GPU-aaaa1111-2222-3333-4444-555566667777"
NAME = "NVIDIA H100 80GB HBM3"
FIRST = "=uuid,name,pci.bus_id"
ALL = f"{FIRST},driver_version,mig.mode.current,compute_mode"
DEVICE = f"{H100}, {NAME}, 00000000:3B:00.0"
ONE = {
    ALL: f"{DEVICE}, 580.159.04, Disabled, Default",
    "=uuid,memory.used": f"{H100}, 512",
    "=pid,used_memory": "71, [N/A]\n72, 1024\n[N/A], [Insufficient Permissions]",
    "-L": f"GPU 0: {NAME} (UUID: {H100})",
}


def one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Return the machine; what it runs is answered by `answers`."""
    install(folder, ONE, monkeypatch)
    devices = [{"name": NAME, "uuid": H100.removeprefix("GPU-"), "total": round(79.1 * GIB)}]
    return Bench(folder / "bench", {"devices": devices, "bf16": True, "free": 79 * GIB}, rehearse=False)


def install(folder: Path, answers: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    program = folder / "bin" / "nvidia-smi"
    program.parent.mkdir(exist_ok=True)
    program.write_text(SMI.format(python=sys.executable, answers=answers))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/bin:/usr/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def answers(monkeypatch: pytest.MonkeyPatch, bench: Bench, *texts: str, status: int = 0) -> None:
    """Have the next commands print these texts; the last one answers all that follow."""
    left = list(texts)

    def run(*_words: object, **_more: object) -> Done:
        return Done(status, left.pop(0) if len(left) > 1 else left[0], "", 0.1)

    monkeypatch.setattr(bench, "run", run)


def verdicts(found: Iterator[Row]) -> dict[str, str]:
    return {row.claim: row.holds for row in found}
