"""``--debug``, with real ranks of torch's DDP on gloo; and the crash of a debug level that it doesn't set any more."""

from __future__ import annotations

from itertools import product

import pytest

from tests.conftest import Run, needs_torch
from tests.launch.processes import Script
from tests.schedule import sampled

N2 = ("--cpu", "--num_processes", "2")
TRAIN = """\
import os, torch, torch.distributed as dist
dist.init_process_group("gloo")
model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(2, 2))
model(torch.ones(1, 2)).sum().backward()
dist.barrier()
print(os.environ.get("TORCH_DISTRIBUTED_DEBUG"), flush=True)
dist.destroy_process_group()
"""
CRASH = "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n"
SUSPECT = "The suspect is TORCH_DISTRIBUTED_DEBUG=DETAIL"


@pytest.mark.exhaustive
@needs_torch
def test_debug_does_not_end_a_run_on_the_cpu(accelerate: Run, script: Script) -> None:
    done = accelerate("launch", *N2, "--debug", script(TRAIN), timeout=120)
    assert (done.returncode, done.stdout.split()) == (0, ["INFO", "INFO"]), done.stderr


@needs_torch
@pytest.mark.parametrize(
    ("level", "engine"), sampled(product(["DETAIL", "detail", "INFO", ""], ["local", "torchrun"]), every=8)
)
def test_after_a_crash_the_debug_level_is_named(accelerate: Run, script: Script, engine: str, level: str) -> None:
    env = {"TORCH_DISTRIBUTED_DEBUG": level} if level else {}
    done = accelerate("launch", "--cpu", "--num_processes", "1", "--engine", engine, script(CRASH), env=env)
    assert done.returncode == 139
    assert "cause: terminated by SIGSEGV: a crash in native code" in done.stderr
    assert (SUSPECT in done.stderr) == (level.upper() == "DETAIL"), done.stderr


def test_another_death_names_no_debug_level(accelerate: Run, script: Script) -> None:
    path = script("import os\nos.abort()\n")
    done = accelerate("launch", *N2, path, env={"TORCH_DISTRIBUTED_DEBUG": "DETAIL"})
    assert done.returncode == 134
    assert SUSPECT not in done.stderr
