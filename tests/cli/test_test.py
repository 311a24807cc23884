"""`accelerate test` really run: what is well, what isn't, and what is captured about it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from accel_cli.commands.test import main
from tests.conftest import BIN, Run, needs_torch
from tests.environments import environment

pytestmark = pytest.mark.timeout(900)

TORCH_CHECKS = {
    "torch", "device", "process group", "ranks", "barrier", "random state cpu", "sampling", "training float32",
    "training bfloat16", "training float16", "training sharded", "checkpoint", "sharded checkpoint",
    *(f"collectives {dtype} cpu" for dtype in
      ("float32", "float64", "float16", "bfloat16", "int64", "int32", "int8", "uint8")),
}  # fmt: skip
# What the library's own script checks, by the names of its functions.
LIBRARY_CHECKS = {
    "init state", "process execution", "split between processes list", "split between processes nested dict",
    "split between processes tensor", "split between processes evenly", "rng sync", "dl preparation",
    "central dl preparation", "custom sampler", "seedable sampler", "seedable sampler with data seed",
    "seedable sampler in batch sampler shard", "training, use_seedable_sampler False",
    "training, use_seedable_sampler True", "trigger",
}  # fmt: skip

# Python imports this in every process that finds it; only ranks are meant.
PLANT = """
import os
if os.environ.get("RANK") == "1":
    import torch.distributed as dist
    real = dist.{function}
    def planted(tensor, *values, **named):
        {before}
        done = real(tensor, *values, **named)
        {after}
        return done
    dist.{function} = planted
"""


def checks(text: str) -> dict[str, str]:
    """Each check of a report with its result."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        mark = line[2:12].strip()
        if line.startswith("  ") and mark in ("ok", "skipped", "FAILED", "UNFINISHED"):
            found[line[24:].split("  ")[0].strip()] = mark
    return found


def plant(folder: Path, function: str, before: str = "pass", after: str = "pass") -> dict[str, str]:
    """Make a function of torch.distributed misbehave on rank 1; return the environment that does."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(PLANT.format(function=function, before=before, after=after))
    return {"PYTHONPATH": str(folder)}


@needs_torch
@pytest.mark.exhaustive
def test_one_rank_with_spaces_in_every_path(accelerate: Run, tmp_path: Path) -> None:
    (tmp_path / "my configs").mkdir()
    (tmp_path / "my configs" / "a b.yaml").write_text("use_cpu: true\nnum_processes: 1\ndistributed_type: 'NO'\n")
    (tmp_path / "my tmp").mkdir()
    done = accelerate(
        "test", "--config_file", "my configs/a b.yaml", env={"TMPDIR": str(tmp_path / "my tmp")}, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = checks(done.stdout)
    assert found.keys() == TORCH_CHECKS
    assert {name for name, how in found.items() if how != "ok"} == {"training sharded"}
    assert "accelerate isn't installed" in done.stdout
    assert not list((tmp_path / "my tmp").glob("accelerate-test-*")), "what it wrote is gone"


@needs_torch
@pytest.mark.exhaustive
def test_two_ranks_of_fsdp(accelerate: Run) -> None:
    words = ("test", "--cpu", "--num_processes", "2", "--use_fsdp", "--fsdp_version", "2")
    done = accelerate(*words, env={"PYTHONWARNINGS": "default"}, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "arning" not in done.stdout + done.stderr, "torch has something to say about what the checks use"
    found = checks(done.stdout)
    assert found.keys() == TORCH_CHECKS
    assert set(found.values()) == {"ok"}
    assert "gloo, 2 ranks" in done.stdout
    assert "send and receive" in done.stdout


@needs_torch
@pytest.mark.exhaustive
def test_a_wrong_result_on_one_rank(accelerate: Run, tmp_path: Path) -> None:
    """It is named with its rank, the checks after it go on in step, and the diagnosis names settings and origins."""
    wrong = plant(tmp_path / "planted", "broadcast", after="tensor.add_(1)")
    done = accelerate("test", "--cpu", "--num_processes", "2", env=wrong, timeout=300)
    assert done.returncode == 1, done.stdout + done.stderr
    found = checks(done.stdout)
    assert found.keys() == TORCH_CHECKS
    failed = {name for name, how in found.items() if how == "FAILED"}
    assert failed == {name for name in TORCH_CHECKS if name.startswith("collectives")}
    assert "rank 1: broadcast: got [2.0, 2.0, 2.0], expected [1.0, 1.0, 1.0]" in done.stdout
    assert "first problem: collectives float32 cpu, on rank 1 (CPU)" in done.stdout
    assert "settings: num_processes 2 (--num_processes)" in done.stdout
    assert "8 failed" in done.stdout
    assert "Traceback" not in done.stderr


@needs_torch
@pytest.mark.exhaustive
def test_a_killed_rank(accelerate: Run, tmp_path: Path) -> None:
    killed = plant(tmp_path / "planted", "all_reduce", before="os.kill(os.getpid(), 9)")
    done = accelerate("test", "--cpu", "--num_processes", "2", env=killed, timeout=300)
    assert done.returncode == 128 + 9, done.stdout + done.stderr
    found = checks(done.stdout)
    assert found["barrier"] == "ok"
    assert found["collectives float32 cpu"] == "UNFINISHED"
    assert "training float32" not in found
    assert "rank 1 (local rank 1, pid " in done.stdout
    assert "terminated by SIGKILL" in done.stdout
    assert "first problem: collectives float32 cpu" in done.stdout


@needs_torch
def test_ctrl_c(environ: dict[str, str], tmp_path: Path) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    with subprocess.Popen(
        [BIN / "accelerate", "test", "--cpu", "--num_processes", "2"],
        env={**environ, "TMPDIR": str(temporary)}, cwd=tmp_path, start_new_session=True, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as child:  # fmt: skip
        assert child.stdout is not None
        assert "2 processes" in child.stdout.readline()
        while len(list(temporary.glob("accelerate-test-*/rank*.jsonl"))) < 2:
            time.sleep(0.05)
        os.killpg(child.pid, signal.SIGINT)
        out, err = child.communicate(timeout=60)
    assert child.returncode == 130, out + err
    assert "Traceback" not in err
    assert not list(temporary.iterdir()), "nothing is left, ranks included, which hold their files there"
    with pytest.raises(ProcessLookupError):
        os.killpg(child.pid, 0)


def test_without_torch(accelerate: Run, tmp_path: Path) -> None:
    """On an interpreter that has nothing at all, neither torch nor us."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", "my bare env"], cwd=tmp_path, check=True)
    python = "my bare env/bin/python"
    for ranks in ("1", "2"):
        done = accelerate("test", "--cpu", "--num_processes", ranks, "--python", python)
        assert done.returncode == 1
        assert checks(done.stdout) == {"torch": "FAILED"}
        assert f": {tmp_path / python} has no torch; install it there" in done.stdout  # of whichever rank was first
        assert f"settings: python {python} (--python)" in done.stdout
        assert "Traceback" not in done.stderr


@pytest.mark.stress
def test_the_librarys_own_list(environ: dict[str, str], tmp_path: Path) -> None:
    where = environment("hf")
    (tmp_path / "read only").mkdir(mode=0o555)
    done = subprocess.run(
        [where / "accel", "test", "--cpu", "--num_processes", "2"],
        env=environ, cwd=tmp_path / "read only", capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = checks(done.stdout)
    assert found.keys() >= TORCH_CHECKS | {f"library: {name}" for name in LIBRARY_CHECKS}
    assert set(found.values()) == {"ok", "skipped"}
    assert "arning" not in done.stderr
    assert not list((tmp_path / "read only").iterdir())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["x.py"], "'x.py' isn't a flag of launch"),
        (["--config_file", "no such file.yaml"], "no such file.yaml doesn't exist"),
        (["--num_procesess", "2"], "Did you mean"),
        (["--module"], "--module can't be used with a test"),
        (["--config_file", "cloud.yaml"], "cloud.yaml:1"),
    ],
)
def test_what_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("cloud.yaml").write_text("compute_environment: AMAZON_SAGEMAKER\n")
    assert main(words, "accelerate test") == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("accelerate test: ")
    assert message in captured.err


@needs_torch
@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("local", "places", "wrong"),
    [
        ((0, 1), ("cuda:0 GPU-a ", "cuda:1 GPU-b "), ""),
        ((0, 0), ("cuda:0 MIG-a MIG-a", "cuda:0 MIG-b MIG-b"), ""),  # each rank sees a slice of its own alone
        ((0, 0), ("cuda:0 GPU-a ", "cuda:0 GPU-a "), "devices on"),
        ((0, 1), ("cuda:0 GPU-a ", "cuda:0 GPU-a "), "devices on"),
        ((0, 0), ("", ""), "local ranks on"),
        ((0, 2), ("cuda:0 GPU-a ", "cuda:2 GPU-b "), "local ranks on"),
    ],
)
def test_ranks_and_their_devices_are_told_apart(
    monkeypatch: pytest.MonkeyPatch, local: tuple[int, ...], places: tuple[str, ...], wrong: str
) -> None:
    from accel_cli.trial import checks as ours
    from accel_cli.trial.record import Wrong

    def everyone(_world: object, _value: object) -> list[object]:
        return [(rank, "box", *own) for rank, own in enumerate(zip(local, places, strict=True))]

    monkeypatch.setattr(ours, "gathered", everyone)
    world = SimpleNamespace(rank=0, size=2, local_rank=local[0], place=places[0])
    said = ""
    try:
        ours.ranks(world)  # pyright: ignore[reportArgumentType]
    except Wrong as error:
        said = str(error)
    assert said.startswith(wrong)
    assert bool(said) == bool(wrong)
