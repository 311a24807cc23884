"""Checkpoints that real ranks wrote, merged into one file."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pexpect
import pytest

from accel_cli.commands.merge import SAFE, UNSAFE, main
from tests.conftest import BIN, ROOT, Run, needs_torch
from tests.schedule import sampled

pytestmark = [pytest.mark.timeout(600), needs_torch]

SAVE = """
import os, sys
import torch, torch.distributed as dist, torch.distributed.checkpoint as dcp
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

dist.init_process_group("gloo")
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(7, 33), torch.nn.LayerNorm(33), torch.nn.Linear(33, 5, dtype=torch.bfloat16))
model.register_buffer("steps", torch.tensor(3))
model.register_buffer("nothing", torch.empty(0, 4))
model.register_buffer("mask", torch.tensor([True, False, True]))
whole = {name: value.clone() for name, value in model.state_dict().items()}
fully_shard(model, mesh=init_device_mesh("cpu", (2,)))
assert model[0].weight.to_local().shape[0] < 33
dcp.save({"model": model.state_dict()}, checkpoint_id=sys.argv[1])
if dist.get_rank() == 0:
    torch.save(whole, sys.argv[2])
dist.destroy_process_group()
os._exit(0)  # what FSDP still holds of gloo now and then aborts a process that ends as usual
"""


@pytest.fixture(scope="module")
def fsdp(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A checkpoint that two ranks wrote of a model sharded by FSDP, and that model's weights."""
    import torch

    folder = tmp_path_factory.mktemp("fsdp")
    (folder / "save.py").write_text(SAVE)
    done = subprocess.run(
        [BIN / "accelerate", "launch", "--cpu", "--num_processes", "2", "save.py", "pytorch_model_fsdp_0", "whole.pt"],
        cwd=folder, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    shards = [path.name for path in (folder / "pytorch_model_fsdp_0").glob("*.distcp")]
    assert len(shards) == 2, "both ranks must have written"
    return folder / "pytorch_model_fsdp_0", torch.load(folder / "whole.pt")


def save(folder: Path, state: dict[str, Any]) -> Path:
    """Write a checkpoint from this process alone."""
    import warnings

    from torch.distributed.checkpoint.state_dict_saver import save as write

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write(state, checkpoint_id=folder, no_dist=True)
    return folder


def copy(folder: Path, to: Path) -> Path:
    to.mkdir()
    for path in folder.iterdir():
        (to / path.name).write_bytes(path.read_bytes())
    return to


def load(folder: Path) -> dict[str, Any]:
    """What the one file in ``folder`` holds, as other programs read it."""
    import torch
    from safetensors.torch import load_file

    (path,) = folder.iterdir()
    return load_file(path) if path.name == SAFE else torch.load(path)


def same(found: dict[str, Any], wanted: dict[str, Any]) -> bool:
    import torch

    return found.keys() == wanted.keys() and all(
        torch.equal(found[name], wanted[name]) and found[name].dtype == wanted[name].dtype for name in wanted
    )


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "flags", [[], ["--unsafe_serialization"], ["--unsafe-serialization"]], ids=["safe", "bin", "hyphen"]
)
def test_tensor_by_tensor(fsdp: tuple[Path, dict[str, Any]], tmp_path: Path, flags: list[str]) -> None:
    checkpoint, whole = fsdp
    out = tmp_path / "a" / "b"
    assert main([str(checkpoint), str(out), *flags]) == 0
    assert [path.name for path in out.iterdir()] == [UNSAFE if flags else SAFE]
    assert same(load(out), whole)


@pytest.mark.exhaustive
def test_the_file_says_where_it_is_from(fsdp: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    from safetensors import safe_open

    main([str(fsdp[0]), str(tmp_path)])
    with safe_open(tmp_path / SAFE, "pt") as file:
        assert file.metadata() == {"format": "pt"}
    content = (tmp_path / SAFE).read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    assert length % 8 == 0
    sizes = {"BF16": 2, "F32": 4, "I64": 8, "BOOL": 1}
    assert all(one["data_offsets"][0] % sizes[one["dtype"]] == 0 for name, one in header.items() if name[0] != "_")


@pytest.mark.exhaustive
@pytest.mark.parametrize("flags", [[], ["--unsafe_serialization"]], ids=["safe", "bin"])
def test_a_single_tensor(tmp_path: Path, flags: list[str]) -> None:
    import torch

    save(tmp_path / "one", {"weight": torch.arange(6.0)})
    assert main([str(tmp_path / "one"), str(tmp_path / "out"), *flags]) == 0
    assert same(load(tmp_path / "out"), {"weight": torch.arange(6.0)})


def test_what_is_no_tensor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import torch

    save(tmp_path / "ck", {"model": {"w": torch.ones(2)}, "epoch": 3, "lr": 0.5})
    assert main([str(tmp_path / "ck"), str(tmp_path / "safe")]) == 0
    assert "omitted, because they aren't tensors: epoch, lr" in capsys.readouterr().out
    assert same(load(tmp_path / "safe"), {"w": torch.ones(2)}), "as in the file of a checkpoint without the two"
    assert main([str(tmp_path / "ck"), str(tmp_path / "bin"), "--unsafe_serialization"]) == 0
    found = load(tmp_path / "bin")
    assert (found["epoch"], found["lr"], found["model.w"].tolist()) == (3, 0.5, [1.0, 1.0])


@pytest.mark.exhaustive
def test_removal_takes_the_checkpoint_alone(
    fsdp: tuple[Path, dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = copy(fsdp[0], tmp_path / "ck")
    (checkpoint / "notes.txt").write_text("mine")
    (checkpoint / "deeper").mkdir()
    assert main([str(checkpoint), str(checkpoint), "--remove_checkpoint_dir"]) == 0
    assert sorted(path.name for path in checkpoint.iterdir()) == ["deeper", SAFE, "notes.txt"]
    assert f"still has files of others: deeper, {SAFE}, notes.txt" in capsys.readouterr().out


@pytest.mark.exhaustive
def test_removal_of_a_folder_that_is_empty_then(fsdp: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    checkpoint = copy(fsdp[0], tmp_path / "ck")
    assert main([str(checkpoint), str(tmp_path / "out"), "--remove-checkpoint-dir"]) == 0
    assert not checkpoint.exists()
    assert same(load(tmp_path / "out"), fsdp[1])


@pytest.mark.exhaustive
def test_a_broken_shard_leaves_everything_as_it_was(
    fsdp: tuple[Path, dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = copy(fsdp[0], tmp_path / "ck")
    shard = max(checkpoint.glob("*.distcp"))
    shard.write_bytes(shard.read_bytes()[: shard.stat().st_size // 2])
    before = {path.name for path in checkpoint.iterdir()}
    assert main([str(checkpoint), str(tmp_path / "new" / "out"), "--remove_checkpoint_dir"]) == 1
    assert "can't be read" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
    assert {path.name for path in checkpoint.iterdir()} == before
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / SAFE).write_text("kept")
    assert main([str(checkpoint), str(tmp_path / "old")]) == 1
    assert [path.read_text() for path in (tmp_path / "old").iterdir()] == ["kept"]


@pytest.mark.exhaustive
def test_no_checkpoint(fsdp: tuple[Path, dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "out")
    assert main([str(tmp_path / "nowhere"), out]) == 2
    assert "does not exist" in capsys.readouterr().err
    assert main([str(fsdp[0].parent), out]) == 2
    assert f"Did you mean {fsdp[0]}?" in capsys.readouterr().err
    assert main([str(fsdp[0] / ".metadata"), out]) == 2
    assert "is not a folder" in capsys.readouterr().err
    assert main([str(fsdp[0])]) == 2
    assert not (tmp_path / "out").exists()


def test_metadata_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / ".metadata").write_text("{}")
    assert main([str(tmp_path), str(tmp_path / "out")]) == 1
    assert ".metadata can't be read" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


class Evil:
    """Runs a command wherever it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def rewritten(checkpoint: Path, change: Callable[[Any], object]) -> None:
    """Change a checkpoint's metadata."""
    with (checkpoint / ".metadata").open("rb") as file:
        metadata = pickle.load(file)  # noqa: S301
    with (checkpoint / ".metadata").open("wb") as file:
        pickle.dump(change(metadata) or metadata, file)


@pytest.mark.exhaustive
@pytest.mark.parametrize("where", ["whole", "inside"])
def test_metadata_that_would_run_something(
    fsdp: tuple[Path, dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str], where: str
) -> None:
    checkpoint = copy(fsdp[0], tmp_path / "ck")
    evil = Evil(tmp_path / "made")
    rewritten(checkpoint, lambda metadata: evil if where == "whole" else setattr(metadata, "planner_data", evil))
    assert main([str(checkpoint), str(tmp_path / "out")]) == 1
    assert ".metadata can't be read: it names posix.mkdir, which metadata doesn't need" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ck"]


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", ["../notes.txt", "/etc/passwd", ".."])
def test_metadata_that_names_files_elsewhere(
    fsdp: tuple[Path, dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """They would be removed as the checkpoint's own."""
    checkpoint = copy(fsdp[0], tmp_path / "ck")
    (tmp_path / "notes.txt").write_text("mine")

    def elsewhere(metadata: Any) -> None:
        index, info = next(iter(metadata.storage_data.items()))
        metadata.storage_data[index] = dataclasses.replace(info, relative_path=name)

    rewritten(checkpoint, elsewhere)
    assert main([str(checkpoint), str(tmp_path / "out"), "--remove_checkpoint_dir"]) == 1
    assert f"it names {name!r}, which isn't a file in the same folder" in capsys.readouterr().err
    assert (tmp_path / "notes.txt").read_text() == "mine"


# Sends us a signal in the middle of the second tensor.
INTERRUPTED = """
import os, sys
from accel_cli.commands.merge import main
from accel_cli.merging import archive
real, seen = archive.read, []
def read(*values):
    seen.append(1)
    if len(seen) == 2:
        os.kill(os.getpid(), int(sys.argv[1]))
    return real(*values)
archive.read = read
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.parametrize("number", sampled([signal.SIGINT, signal.SIGTERM], every=2))
@pytest.mark.exhaustive
def test_an_interrupted_merge_leaves_nothing(
    fsdp: tuple[Path, dict[str, Any]], tmp_path: Path, environ: dict[str, str], number: signal.Signals
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, str(int(number)), str(fsdp[0]), str(tmp_path / "a" / "out")],
        env=environ, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 128 + number, done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_without_torch_it_says_so(tmp_path: Path, accelerate: Run) -> None:
    (tmp_path / ".metadata").touch()
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError('no torch', name='torch')")
    done = accelerate("merge-weights", str(tmp_path), "out", env={"PYTHONPATH": str(tmp_path)})
    assert done.returncode == 2
    assert "pip install --python " in done.stderr
    assert "Traceback" not in done.stderr


# Merges 320 MB in 20 tensors, allowed 120 MB more memory of its own than torch has taken by then.
LIMITED = """
import resource, sys, torch, torch.distributed.checkpoint
from accel_cli.commands.merge import main
taken = next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmData"))
resource.setrlimit(resource.RLIMIT_DATA, (taken + int(sys.argv[1]),) * 2)
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited by Linux's means")
@pytest.mark.exhaustive
def test_memory_is_bounded(tmp_path: Path, environ: dict[str, str]) -> None:
    import torch

    state = {f"w{number}": torch.full((4_000_000,), float(number)) for number in range(20)}
    save(tmp_path / "big", {"model": state})
    del state
    (tmp_path / "limited.py").write_text(LIMITED)

    def merge(allowed: int, *flags: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "limited.py", str(allowed), "big", "out", *flags],
            cwd=tmp_path, env={**environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=300,
        )  # fmt: skip

    small = merge(8_000_000)  # the limit must bite where it is less than one tensor
    assert small.returncode == 1
    assert small.stderr == "accelerate-merge-weights: not enough memory for w0 (16000000 bytes)\n"
    for flags in ([], ["--unsafe_serialization"]):
        done = merge(120_000_000, *flags)
        assert done.returncode == 0, done.stderr
        (path,) = (tmp_path / "out").iterdir()
        assert path.stat().st_size > 320_000_000
        path.unlink()


@pytest.mark.skipif(sys.platform != "linux", reason="the size of files is limited by Linux's means")
@pytest.mark.exhaustive
def test_a_disk_that_takes_no_more(
    fsdp: tuple[Path, dict[str, Any]], tmp_path: Path, environ: dict[str, str]
) -> None:
    (tmp_path / SAFE).write_text("kept")
    code = (
        "import resource, sys; from accel_cli.commands.merge import main;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)); sys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(fsdp[0]), str(tmp_path)],
        env=environ, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 1
    assert f"{tmp_path / SAFE} can't be written: File too large" in done.stderr
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".py"] == [SAFE]
    assert (tmp_path / SAFE).read_text() == "kept"


@pytest.mark.exhaustive
def test_a_bar_on_a_terminal(fsdp: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    command = f"'{BIN / 'accelerate'}' merge-weights '{fsdp[0]}' '{tmp_path}'"
    child = pexpect.spawn("/bin/sh", ["-c", command], cwd=str(ROOT), timeout=200, encoding="utf-8")
    child.expect("━")
    child.expect("9 tensors")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
