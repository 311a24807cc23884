"""`launch --tpu` with the real torch_xla on this machine's CPU: one process, or several devices with SPMD."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.environments import environment

pytestmark = [pytest.mark.xla, pytest.mark.timeout(600)]

MODEL = """
import json, os, sys
import torch

def train(steps=40):
    import torch_xla
    torch.manual_seed(0)
    device = torch_xla.device()
    model = torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1)).to(device)
    x = torch.randn(64, 4).to(device)
    y = x.sum(1, keepdim=True)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = ((model(x) - y) ** 2).mean()
        loss.backward()
        optimizer.step()
        torch_xla.sync()
        losses.append(loss.item())
    return losses[0], losses[-1]
"""
Start = Callable[..., subprocess.Popen[str]]
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def start(environ: dict[str, str], tmp_path: Path) -> Start:
    """Start ``accel-tpu launch`` in the environment that has torch_xla, on a script of this source."""
    program = environment(extra="xla", package="accel-tpu") / "accel-tpu"

    def begin(
        source: str, *words: str, flags: tuple[str, ...] = (), env: Mapping[str, str] | None = None
    ) -> subprocess.Popen[str]:
        (tmp_path / "train.py").write_text(source)
        return subprocess.Popen(
            [program, "launch", "--tpu", *flags, *(["train.py"] if "-m" not in flags else []), *words],
            env={**environ, "PJRT_DEVICE": "CPU", **(env or {})},
            cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    return begin


@pytest.fixture
def run(start: Start) -> Run:
    """Run it to its end."""

    def whole(source: str, *words: str, **options: object) -> subprocess.CompletedProcess[str]:
        with start(source, *words, **options) as running:
            out, err = running.communicate(timeout=300)
        return subprocess.CompletedProcess([], running.returncode, out, err)

    return whole


def test_a_model_is_trained_in_a_process_of_torch_xla(run: Run) -> None:
    done = run(
        MODEL + "def main():\n"
        "    first, last = train()\n"
        "    seen = {k: v for k, v in os.environ.items() if k.startswith(('ACCELERATE_', 'XLA_', 'FORK_'))}\n"
        "    print(json.dumps([first, last, sys.argv, __name__, seen]))\n",
        "--lr", "a b",
        flags=("--mixed_precision", "bf16", "--downcast_bf16", "--dynamo_backend", "inductor", "--debug"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    first, last, argv, name, seen = json.loads(done.stdout.splitlines()[-1])  # torch_xla prints a line of its own
    assert last < first / 5
    assert (argv, name) == (["train.py", "--lr", "a b"], "train")
    assert seen.items() >= {
        "ACCELERATE_MIXED_PRECISION": "bf16", "ACCELERATE_DOWNCAST_BF16": "1", "XLA_DOWNCAST_BF16": "1", "FORK_LAUNCHED": "1",
        "ACCELERATE_DYNAMO_BACKEND": "INDUCTOR", "ACCELERATE_DEBUG_MODE": "true",
    }.items()  # fmt: skip
    assert "ACCELERATE_USE_CPU" not in seen
    assert "XLA_USE_BF16" not in seen


def test_over_several_devices_with_spmd(run: Run) -> None:
    done = run(
        MODEL + "def main():\n"
        "    import numpy, torch_xla, torch_xla.runtime as xr, torch_xla.distributed.spmd as xs\n"
        "    xr.use_spmd()\n"
        "    count = xr.global_runtime_device_count()\n"
        "    mesh = xs.Mesh(numpy.arange(count), (count,), ('data',))\n"
        "    x = torch.randn(64, 4).to(torch_xla.device())\n"
        "    xs.mark_sharding(x, mesh, ('data', None))\n"
        "    w = torch.zeros(4, 1, device=torch_xla.device(), requires_grad=True)\n"
        "    loss = ((x @ w - x.sum(1, keepdim=True)) ** 2).mean()\n"
        "    loss.backward()\n"
        "    torch_xla.sync()\n"
        "    print(json.dumps([count, loss.item(), float(w.grad.abs().sum())]))\n",
        flags=("--tpu_spmd",), env={"CPU_NUM_DEVICES": "4"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    count, loss, grad = json.loads(done.stdout)
    assert count == 4
    assert loss > 1
    assert grad > 1


def test_one_process_runs_without_a_pool(run: Run) -> None:
    done = run(MODEL + "def main():\n    print(train()[1] < 1, os.getppid())\n", flags=("--num_processes", "1"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("True ")


def test_a_named_function_may_take_the_index_and_a_script_without_main_runs_as_main(run: Run) -> None:
    done = run("def _mp_fn(index):\n    print('index', index)\n", flags=("--main_training_function", "_mp_fn"))
    assert (done.returncode, done.stdout) == (0, "index 0\n")
    done = run("import sys\nprint(__name__, sys.argv)\nif __name__ == '__main__':\n    print('in')\n", "-x")
    assert (done.returncode, done.stdout) == (0, "__main__ ['train.py', '-x']\nin\n")


def test_a_module(run: Run) -> None:
    done = run("def main():\n    print(__name__)\n", "train", "a", flags=("-m",))
    assert (done.returncode, done.stdout) == (0, "train\n")
    done = run("def other(): pass\n", "train", flags=("-m", "--main_training_function", "missing"))
    assert done.returncode == 2
    assert "train has no function missing (--main_training_function)" in done.stderr


def test_an_exception_comes_back(run: Run) -> None:
    done = run("def main():\n    raise ValueError('no luck')\n")
    assert done.returncode == 1
    assert done.stderr.count("Traceback") == 1
    assert "spawn.py" not in done.stderr
    assert "  exception: ValueError: no luck\n  at: " in done.stderr
    assert "train.py:2\n" in done.stderr
    assert "resource_tracker" not in done.stderr


@pytest.mark.parametrize(("code", "status"), [("0", 0), ("7", 7), ("None", 0), ("'out of data'", 1)])
def test_sys_exit_comes_back(run: Run, code: str, status: int) -> None:
    done = run(f"import sys\ndef main():\n    sys.exit({code})\n")
    assert done.returncode == status, done.stderr
    assert ("out of data" in done.stderr) == (status == 1)


def test_deaths_around_python_come_back(run: Run) -> None:
    done = run("import os\ndef main():\n    os._exit(5)\n")
    assert done.returncode == 5, done.stderr
    done = run("import os\ndef main():\n    os.kill(os.getpid(), 11)\n")
    assert done.returncode == 139, done.stderr
    assert "terminated by SIGSEGV" in done.stderr
    assert "BrokenProcessPool" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_reach_the_function(start: Start, number: int) -> None:
    source = (
        "import time\ndef main():\n    print('up', flush=True)\n    try:\n        for _ in range(600):\n            time.sleep(0.1)\n"
        "    except KeyboardInterrupt:\n        print('saved', flush=True)\n        raise\n"
    )
    with start(source) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "up\n"
        began = time.monotonic()
        running.send_signal(number)
        out, err = running.communicate(timeout=60)
    assert running.returncode == -number, err
    assert out == ("saved\n" if number == signal.SIGINT else "")
    assert time.monotonic() - began < 15
