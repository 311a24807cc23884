"""A run that is preempted again and again ends with the weights of one that never was."""

from __future__ import annotations

import random
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import BIN, ROOT, Run, needs_torch

EXAMPLE = ROOT / "examples" / "train_preemptible.py"
STEPS = 2000  # far more than ten preemptions can reach, on a machine of any speed
SEED = 22


# One process imports torch for all attempts, which are about what comes after that.
WARM = ("--preload", "torch", "--keep_warm", "5m")


def words(folder: Path, *more: str) -> list[str]:
    flags = ("launch", "--quiet", "--cpu", "--num_processes", "2", *more)
    return list(map(str, (BIN / "accelerate", *flags, EXAMPLE, "--checkpoint", folder / "c.pt", "--steps", STEPS)))


def preempted(folder: Path, environ: dict[str, str], step: int, wait: float, number: int) -> tuple[int, int]:
    """Send a signal some time after a step; return the status and the step it ended with."""
    with subprocess.Popen(words(folder, *WARM), env=environ, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        last = ""
        for last in running.stdout:
            if last.startswith("step ") and int(last.split()[1]) >= step:
                break
        time.sleep(wait)
        running.send_signal(number)
        last = running.stdout.read().splitlines()[-1]
        running.wait(60)
    found = re.match(rf"(\d+) of {STEPS} steps, ", last)
    assert found, last
    return running.returncode, int(found[1])


def content(folder: Path) -> dict[str, Any]:
    import torch

    return torch.load(folder / "c.pt", weights_only=True)


@needs_torch
@pytest.mark.exhaustive
@pytest.mark.timeout(900)
def test_ten_preemptions_change_no_bit(accelerate: Run, tmp_path: Path, environ: dict[str, str]) -> None:
    import torch

    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir()
    parts.mkdir()
    undisturbed = subprocess.run(words(whole), env=environ, capture_output=True, text=True, timeout=400)
    assert undisturbed.returncode == 0, undisturbed.stderr
    chance = random.Random(SEED)
    reached = 0
    for _round in range(10):
        number = chance.choice((signal.SIGTERM, signal.SIGUSR1))
        target = reached + chance.randrange(40)
        status, step = preempted(parts, environ, target, chance.random() * 0.02, number)
        assert status == (75 if number == signal.SIGUSR1 else -signal.SIGTERM)
        assert reached < step < STEPS
        assert content(parts)["done"] == step
        reached = step
    assert [path.name for path in parts.iterdir()] == ["c.pt"]
    done = subprocess.run(words(parts, *WARM), env=environ, capture_output=True, text=True, timeout=400)
    accelerate("stop", "--warm")
    assert done.returncode == 0, done.stderr
    last = undisturbed.stdout.splitlines()[-1]
    assert re.fullmatch(rf"{STEPS} of {STEPS} steps, weights [0-9a-f]{{64}}", last)
    assert done.stdout.splitlines()[-1] == last
    for name, expected in content(whole)["model"].items():
        assert torch.equal(content(parts)["model"][name], expected), name
