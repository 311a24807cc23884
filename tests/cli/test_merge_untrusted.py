"""Checkpoints of strangers: whatever their pickles claim, nothing of them runs, and nothing outside their folder is read."""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from accel_cli.commands.merge import SAFE, main
from tests.cli.test_merge import Evil, copy, load, rewritten, save
from tests.conftest import needs_torch

pytestmark = [pytest.mark.timeout(300), needs_torch]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with two tensors and a number."""
    import torch

    return save(
        tmp_path_factory.mktemp("saved") / "ck", {"model": {"w": torch.ones(4, 6), "b": torch.ones(3)}, "step": 3}
    )


@pytest.fixture
def checkpoint(saved: Path, tmp_path: Path) -> Path:
    return copy(saved, tmp_path / "ck")


@pytest.fixture
def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[[Path], str]:
    """Merging a checkpoint fails with one line, which is returned, and leaves nothing."""

    def merge(folder: Path) -> str:
        assert main([str(folder), str(tmp_path / "out")]) == 1
        assert not (tmp_path / "out").exists()
        (line,) = capsys.readouterr().err.splitlines()
        return line

    return merge


def test_bytes_that_pose_as_a_tensor(checkpoint: Path, tmp_path: Path) -> None:
    """torch's own planner would unpickle their shard."""
    import torch
    from torch.distributed.checkpoint.metadata import TensorProperties

    shard = io.BytesIO()
    torch.save(Evil(tmp_path / "made"), shard)
    (checkpoint / "evil.distcp").write_bytes(shard.getvalue())

    def pose(metadata: Any) -> None:
        posing = metadata.state_dict_metadata["step"]
        posing.__dict__.update(size=torch.Size([1]), properties=TensorProperties(torch.float32))
        for index, info in metadata.storage_data.items():
            if index.fqn == "step":
                info.relative_path, info.offset, info.length = "evil.distcp", 0, len(shard.getvalue())

    rewritten(checkpoint, pose)
    assert main([str(checkpoint), str(tmp_path / "out")]) == 0
    assert load(tmp_path / "out").keys() == {"w", "b"}
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    "name",
    [PurePosixPath("/etc/hostname"), PurePosixPath("..", "x"), b"__0_0.distcp", None, 3, "/etc/hostname", "a\0b"],
)
def test_names_of_files_are_plain_text(checkpoint: Path, refused: Callable[[Path], str], name: Any) -> None:
    def rename(metadata: Any) -> None:
        for info in metadata.storage_data.values():
            info.relative_path = name

    rewritten(checkpoint, rename)
    assert ".metadata can't be read" in refused(checkpoint)


@pytest.mark.parametrize("name", [".metadata", "__0_0.distcp"])
def test_a_link_out_of_the_folder(
    checkpoint: Path, tmp_path: Path, refused: Callable[[Path], str], name: str
) -> None:
    (checkpoint / name).rename(tmp_path / "outside")
    (checkpoint / name).symlink_to(tmp_path / "outside")
    assert f"{name} is a link out of the folder" in refused(checkpoint)


@pytest.mark.timeout(30)
def test_a_shard_that_is_a_pipe(checkpoint: Path, refused: Callable[[Path], str]) -> None:
    (checkpoint / "__0_0.distcp").unlink()
    os.mkfifo(checkpoint / "__0_0.distcp")
    assert "__0_0.distcp isn't a plain file" in refused(checkpoint)


def test_links_that_are_fine(checkpoint: Path, tmp_path: Path) -> None:
    """The folder itself, within it, and in the Hub's cache."""
    (checkpoint / "__0_0.distcp").rename(checkpoint / "real")
    (checkpoint / "__0_0.distcp").symlink_to("real")
    (tmp_path / "link").symlink_to(checkpoint)
    assert main([str(tmp_path / "link"), str(tmp_path / "one")]) == 0
    snapshot, blobs = tmp_path / "models--a--b" / "snapshots" / "1" / "ck", tmp_path / "models--a--b" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for name in ("__0_0.distcp", ".metadata"):
        (blobs / name.strip("._")).write_bytes((checkpoint / name).read_bytes())
        (snapshot / name).symlink_to(f"../../../blobs/{name.strip('._')}")
    assert main([str(snapshot), str(tmp_path / "two")]) == 0
    assert (tmp_path / "one" / SAFE).read_bytes() == (tmp_path / "two" / SAFE).read_bytes()


def replaced(checkpoint: Path, shard: bytes, **changes: Any) -> None:
    """Let the tensor `model.b` be in a shard of its own, and change its metadata."""
    (checkpoint / "own.distcp").write_bytes(shard)

    def change(metadata: Any) -> None:
        for name, value in changes.items():
            setattr(metadata.state_dict_metadata["model.b"], name, value)
        for index, info in metadata.storage_data.items():
            if index.fqn == "model.b":
                info.relative_path, info.offset, info.length = "own.distcp", 0, len(shard)

    rewritten(checkpoint, change)


def torch_saved(value: object, **options: Any) -> bytes:
    import torch

    file = io.BytesIO()
    torch.save(value, file, **options)
    return file.getvalue()


def strange_tensors() -> dict[str, Any]:
    import torch

    quantized = torch.quantize_per_tensor(torch.ones(3), 1.0, 0, torch.quint8) if hasattr(torch, "quint8") else None
    return {
        "a list": [1, 2],
        "sparse": torch.eye(3).to_sparse(),
        "quantized": quantized,
        "a parameter": torch.nn.Parameter(torch.ones(3)),
        "of another type": torch.ones(3, dtype=torch.float64),
        "of another shape": torch.ones(4),
        "on no device": torch.ones(3, device="meta"),
        "of fewer values": torch.ones(1).expand(3),
        "conjugated": torch.ones(3, dtype=torch.complex64).conj(),
    }


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "which",
    ["a list", "sparse", "quantized", "a parameter", "of another type", "of another shape", "on no device",
     "of fewer values", "conjugated"],
)  # fmt: skip
def test_tensors_that_no_shard_has(checkpoint: Path, refused: Callable[[Path], str], which: str) -> None:
    replaced(checkpoint, torch_saved(strange_tensors()[which]))
    assert "model.b can't be read" in refused(checkpoint)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_shard_that_would_run_something(
    checkpoint: Path, tmp_path: Path, refused: Callable[[Path], str], *, zipped: bool
) -> None:
    replaced(checkpoint, torch_saved(Evil(tmp_path / "made"), _use_new_zipfile_serialization=zipped))
    assert "model.b can't be read" in refused(checkpoint)
    assert not (tmp_path / "made").exists()


def test_tensors_that_no_file_holds(checkpoint: Path, refused: Callable[[Path], str]) -> None:
    import torch
    from torch.distributed.checkpoint.metadata import ChunkStorageMetadata as Chunk

    shard, size = torch_saved(torch.ones(3)), torch.Size
    for chunks, shape, fault in (
        ([Chunk(size([0]), size([2**50]))], [2**50], "is larger than what is stored"),
        ([Chunk(size([0]), size([3]))], [5], "don't make up the whole"),
        ([Chunk(size([0]), size([3])), Chunk(size([0]), size([2]))], [5], "overlap"),
        ([Chunk(size([-1]), size([3]))], [3], "isn't a possible number"),
        ([Chunk(size([1]), size([3]))], [3], "lies outside"),
        ([Chunk(size([0]), size([2**63 - 1]))], [2**63 - 1], "isn't a possible number"),
        ("chunks", [3], "no list of pieces"),
        ([3], [3], "ChunkStorageMetadata is malformed"),
    ):
        replaced(checkpoint, shard, chunks=chunks, size=size(shape))
        assert fault in refused(checkpoint)
    replaced(checkpoint, shard, chunks=[Chunk(size([0]), size([3]))], size=size([3]))
    for info in (stored := pickle.loads((checkpoint / ".metadata").read_bytes())).storage_data.values():  # noqa: S301
        info.offset = 2**40
    rewritten(checkpoint, lambda _: stored)
    assert "fewer than the metadata says" in refused(checkpoint)


def test_a_compressed_archive(checkpoint: Path, refused: Callable[[Path], str]) -> None:
    """A few bytes that unpack to gigabytes."""
    import torch

    packed, plain = io.BytesIO(), io.BytesIO(torch_saved(torch.ones(3)))
    with zipfile.ZipFile(plain) as old, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as new:
        for info in old.infolist():
            new.writestr(info.filename, old.read(info))
    replaced(checkpoint, packed.getvalue())
    assert "model.b can't be read: a shard isn't an archive of one tensor" in refused(checkpoint)


def test_names(
    checkpoint: Path, tmp_path: Path, refused: Callable[[Path], str], capsys: pytest.CaptureFixture[str]
) -> None:
    def rename(metadata: Any, old: str, path: tuple[Any, ...]) -> None:
        metadata.planner_data[old] = path

    rewritten(checkpoint, lambda metadata: rename(metadata, "step", ("model", "\x1b[2Jstep\n")))
    assert main([str(checkpoint), str(tmp_path / "out2")]) == 0
    assert "\\x1b[2Jstep\\n" in capsys.readouterr().out
    rewritten(checkpoint, lambda metadata: rename(metadata, "model.b", ("model", "w")))
    assert "two values of the name w" in refused(checkpoint)
    for path in [("__metadata__",), ("\ud800",), (b"x",), ("x" * 20_000,)]:
        rewritten(checkpoint, lambda metadata, path=path: rename(metadata, "model.b", path))
        capsys.readouterr()
        assert main([str(checkpoint), str(tmp_path / "out")]) in (1, 2)
        assert len(capsys.readouterr().err.splitlines()) == 1


def test_removal_keeps_files_that_no_shard_is_called(checkpoint: Path, tmp_path: Path) -> None:
    """The metadata could name any file of the folder."""
    (checkpoint / "notes.txt").write_text("mine")

    def name(metadata: Any) -> None:
        index, info = next(iter(metadata.storage_data.items()))
        more = pickle.loads(pickle.dumps(index))  # noqa: S301
        object.__setattr__(more, "fqn", "more")
        metadata.storage_data[more] = type(info)("notes.txt", 0, 0)

    rewritten(checkpoint, name)
    assert main([str(checkpoint), str(tmp_path / "out"), "--remove_checkpoint_dir"]) == 0
    assert [path.name for path in checkpoint.iterdir()] == ["notes.txt"]


DEEP = b"\x80\x04}(" + b"K\x01" + b"\x85" * 1_000_000 + b"K\x01u."  # the hash of such a tuple overflows the stack
MEMO = b"\x80\x04}r\xff\xff\xff\x0f."  # Python's unpickler in C reserves 4 GB for this
CHANGES = b"\x80\x04ctorch.serialization\n_get_layout\nN}X\x0c\x00\x00\x00__defaults__)s\x86b."  # sets an attribute
HUGE = b"\x80\x04B\xff\xff\xff\x7f."
LONG = b"\x80\x04L" + b"9" * 5000 + b"L\n."
SETS = b"\x80\x04\x8f(K\x01\x90."
CODECS = b"\x80\x04c_codecs\nencode\n."
BYTES = b"\x80\x04cbuiltins\nbytearray\n\x8a\x05\x00\x00\x00\x00\x10\x85R."


BOMBS = (DEEP, MEMO, CHANGES, HUGE, LONG, SETS, CODECS, BYTES, b"", b"\x80\xff")
# Each in a fork of a process that has torch, because a start takes seconds.
BOUNDED = """\
import os, resource, signal, sys, torch
from accel_cli.commands.merge import main
taken = next(int(line.split()[1]) * 1024 for line in open('/proc/self/status') if line.startswith('VmData'))
for folder in sys.argv[1:]:
    pid = os.fork()
    if not pid:
        status = 70
        try:
            signal.alarm(60)
            resource.setrlimit(resource.RLIMIT_DATA, (taken + 400_000_000,) * 2)
            os.dup2(os.open(folder + '.err', os.O_WRONLY | os.O_CREAT), 2)
            status = main([folder, folder + '.out'])
        finally:
            sys.stderr.flush()
            os._exit(status)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


@pytest.mark.exhaustive
def test_pickles_that_would_end_the_process(checkpoint: Path, environ: dict[str, str], tmp_path: Path) -> None:
    """Or take its memory: the command has 400 MB more than torch."""
    folders = [copy(checkpoint, tmp_path / str(number)) for number in range(len(BOMBS))]
    for folder, content in zip(folders, BOMBS, strict=True):
        (folder / ".metadata").write_bytes(content)
    done = subprocess.run(
        [sys.executable, "-c", BOUNDED, *map(str, folders)], env=environ, capture_output=True, text=True, timeout=250
    )
    said = [folder.with_suffix(".err").read_text() for folder in folders]
    assert done.stdout.split() == ["1"] * len(BOMBS), (done.stdout, done.stderr, said)
    for text in said:
        assert ".metadata can't be read" in text
        assert "Traceback" not in text
        assert "MemoryError" not in text


def test_ordered_metadata(checkpoint: Path, tmp_path: Path) -> None:
    """An ordered dictionary is fine."""

    def older(metadata: Any) -> None:
        metadata.state_dict_metadata = OrderedDict(metadata.state_dict_metadata)

    rewritten(checkpoint, older)
    assert main([str(checkpoint), str(tmp_path / "out")]) == 0
