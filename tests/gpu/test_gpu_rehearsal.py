"""benchmarks/gpu_check.py --rehearse: checks on the CPU, with a stand-in of the driver."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu_checks.bench import RANKS, told
from tests.gpu import driver
from tests.gpu.test_gpu_check import PROGRAM, ROOT, rows, run, without_a_gpu

pytestmark = [without_a_gpu, pytest.mark.timeout(600)]
OF_A_DEVICE = {
    "a rehearsal measures nothing, but this point ran",
    "nothing was measured",
    "nothing was measured and traced",
    "gloo has no watchdog",
    "runs.readme rehearses it with one rank",
}
"""Why a claim isn't seen in a rehearsal of these checks."""


def rehearsed(folder: Path, *names: str) -> dict[str, Any]:
    """Return what was seen of each claim; all hold, but for those that only a device shows."""
    words, stand_in = ("--rehearse", "--only", *names, "--out", str(folder / "out")), driver.install(folder)
    done = run(*words, program=PROGRAM, **stand_in)
    found = rows(folder / "out")
    assert done.returncode == 0, done.stdout + done.stderr
    assert {row["seen"] for row in found.values() if row["holds"] != "yes"} <= OF_A_DEVICE
    assert str(ROOT) not in (folder / "out" / "results.json").read_text()
    return {claim: row["seen"] for claim, row in found.items()}


@pytest.mark.exhaustive
def test_what_needs_no_torch_is_rehearsed_with_a_stand_in_of_the_driver(tmp_path: Path) -> None:
    names = ("finding.ids", "finding.absent", "endings.killed", "endings.restart", "tools.idle", "tools.ps_and_top")
    seen = rehearsed(tmp_path, *names)
    assert seen["The driver shows the memory that a rank holds"] == "10.50 GiB"
    assert seen["A context takes what the estimates add for it"] == "0.50 GiB"
    assert float(seen["The memory of a rank that was killed is free in time"].partition(" s")[0]) < 50
    assert seen["The next attempt begins when the driver has taken back the memory"].startswith("0.00 GiB held when")
    assert (
        "taken by the launch with pid"
        in seen["A device that another launch has taken isn't idle, though that holds nothing"]
    )
    assert len(seen) >= 17


@pytest.mark.exhaustive
def test_what_needs_torch_is_rehearsed_on_the_cpu(tmp_path: Path) -> None:
    names = ("endings.out_of_memory", "endings.watchdog", "runs.two_on_one", "runs.several", "runs.precision")
    seen = rehearsed(tmp_path, *names)
    full = seen["A device out of memory is the cause that the report names"]
    assert full.startswith("torch.OutOfMemoryError: CUDA out of memory.")
    assert full.endswith("at benchmarks/gpu_checks/ranks/fill.py:14")
    assert "the device is out of memory, as it would be again" in seen["It isn't started again"]
    assert seen["A collective that takes too long is told as that"] == "all_reduce after 4.0 s"
    assert seen["The rank for which a collective has waited for too long is named"] == "ranks [1] by stacks"
    assert "there are only 1 devices for 2 ranks" in seen["More ranks than devices are refused"]
    assert seen["num_devices lets two ranks share a device, over gloo"] == "['gloo: 3.0 on cpu']"
    assert seen["Without settings, a rank on each device reduces over nccl"] == "gloo: 3.0 on 1 devices"
    for name, kind in {"bf16": "bfloat16", "fp16": "float16"}.items():
        assert seen[f"mixed_precision {name} reaches the script, and training in it learns"].startswith(
            f"{kind}, loss 2."
        )


@pytest.mark.exhaustive
def test_without_a_device_torch_says_why_no_kernel_runs() -> None:
    done = subprocess.run(
        [sys.executable, RANKS / "facts.py"], capture_output=True, text=True, timeout=170, check=True
    )
    found = told(done.stdout)[0]
    assert found["why"].startswith(("no kernel runs: Found no NVIDIA driver", "this torch is built without CUDA"))
    assert (found["devices"], found["free"]) == ([], None)


def test_what_needs_transformers_is_rehearsed_on_the_cpu(tmp_path: Path) -> None:
    if find_spec("transformers") is None:
        pytest.skip("transformers is not installed: sync the group `hf`")
    seen = rehearsed(tmp_path, "memory.training", "memory.serving", "runs.trainer")
    assert seen["Every point can be traced"] == "none of 1 fails"
    trained = [what for claim, what in seen.items() if claim.startswith("Training tiny")]
    assert trained == ["a rehearsal measures nothing, but this point ran"]
    assert seen["Serving tiny, 2 x 64: its cache is as large as the formula says"] == "32,256 bytes"
    assert float(seen["The example of the Trainer trains"].split()[1].rstrip(",")) > 0.3
