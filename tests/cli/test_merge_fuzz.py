"""Random checkpoints for `merge-weights`: nothing of them runs, nothing outside is opened, every fault is a message."""

from __future__ import annotations

import io
import os
import pickle
import random
import resource
import shutil
import sys
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from accel_cli.commands.merge import SAFE, main
from tests.cli.test_merge import Evil, save
from tests.conftest import needs_torch
from tests.fuzzing import fuzz

pytestmark = [needs_torch, pytest.mark.fuzz, pytest.mark.timeout(600)]

ACTS = ("os.system", "os.mkdir", "os.exec", "os.posix_spawn", "subprocess.Popen", "socket.connect", "ctypes.dlopen")
GROWTH = 300_000  # kB of memory that all rounds together may add


class Watch:
    """What the process does while it is on. An audit hook can't be taken away again, so there is one."""

    on = False
    seen: list[tuple[str, object]]

    def __init__(self) -> None:
        self.seen = []
        self.folder = Path()
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[object, ...]) -> None:
        if not self.on:
            return
        acts = event in ACTS and str(self.folder / "out") not in str(arguments)
        if acts or (event == "open" and os.path.normpath(str(arguments[0])) == str(self.folder / "outside")):
            self.seen.append((event, arguments))


WATCH = Watch()


def values(random: random.Random, folder: Path) -> Any:
    """Return a value that metadata wouldn't have."""
    import torch

    return random.choice(
        [
            *(
                None,
                True,
                -1,
                2**31,
                2**63,
                2**70,
                -(2**63),
                10**4999,
                0.5,
                float("nan"),
                "",
                "..",
                "../outside",
                b"x",
            ),
            *(
                str(folder / "outside"),
                PurePosixPath(folder / "outside"),
                "\x1b[2J\n",
                "\ud800",
                "a" * 20_000,
                [],
                {},
            ),
            *(
                (),
                ((1,),),
                torch.Size([2**40] * 3),
                torch.Size([-1]),
                torch.float32,
                torch.quint8,
                Evil(folder / "made"),
            ),
            *(torch.Size([0]), torch.Size([2]), torch.strided, "outside", "__0_0.distcp", ".metadata", 0, 1, 100),
        ]
    )


def parts(value: Any) -> list[tuple[Any, Any]]:
    """Return every place in metadata that can be set: an object or mapping, and the name."""
    found: list[tuple[Any, Any]] = []
    waiting = [value]
    while waiting:
        one = waiting.pop()
        inside = one if isinstance(one, dict) else dict(enumerate(one)) if isinstance(one, list) else None
        if inside is None and type(one).__module__.startswith("torch.distributed"):
            inside = vars(one)
        found += [(one, name) for name in inside or ()]
        waiting += (inside or {}).values()
        waiting += list(one) if isinstance(one, dict) else []
    return found


def forged(random: random.Random, metadata: bytes, folder: Path) -> bytes:
    """Return the pickle of metadata with a few other values."""
    value = pickle.loads(metadata)  # noqa: S301
    for _ in range(random.randrange(1, 4)):
        target, name = random.choice(parts(value))
        new = values(random, folder)
        if isinstance(target, dict):
            name = name if random.random() < 0.8 else "more"
            with suppress(TypeError):  # an index into a tensor's parts that now holds a list is no key any more
                target[name] = new
        elif isinstance(target, list):
            target[name] = new
        else:
            object.__setattr__(target, name if random.random() < 0.8 else random.choice(["size", "properties"]), new)
    try:
        return pickle.dumps(value, protocol=random.choice([2, 3, 4, 5]))
    except Exception:  # TensorProperties refuses some
        return metadata


def scratched(random: random.Random, content: bytes) -> bytes:
    """Return the bytes with some changed, missing or repeated."""
    found = bytearray(content)
    for _ in range(random.choice([1, 1, 2, 5, 50])):
        at = random.randrange(len(found))
        match random.randrange(4):
            case 0:
                found[at] = random.randrange(256)
            case 1:
                del found[at : at + random.randrange(1, 20)]
            case 2:
                found[at:at] = random.randbytes(random.randrange(1, 9))
            case _:
                found[at:at] = found[at : at + random.randrange(1, 60)]
        found = found or bytearray(b".")
    return bytes(found)


def spelled(random: random.Random, folder: Path) -> bytes:
    """Return a pickle of random operations, with names that are known and others."""
    names = [
        *(b"cos\nsystem\n", b"cposix\nmkdir\n", b"cbuiltins\neval\n", b"cbuiltins\nbytearray\n", b"ctorch\nSize\n"),
        *(b"ctorch.serialization\n_get_layout\n", b"ccollections\nOrderedDict\n", b"cpathlib\nPosixPath\n"),
        *(b"ctorch.distributed.checkpoint.metadata\n" + name for name in (b"Metadata\n", b"BytesStorageMetadata\n")),
        *(b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch\nfloat32\n", b"ctorch\nload\n"),
    ]
    text = str(folder / "made").encode()
    pieces = [
        *(random.choice(names) for _ in range(4)), b"X" + len(text).to_bytes(4, "little") + text, b"(", b")", b"}", b"]",
        *(b"t", b"\x85", b"\x86", b"\x87", b"R", b"R", b"\x81", b"b", b"s", b"u", b"a", b"e", b"N", b"K\x01", b"Q", b"\x94"),
        *(b"h\x00", b"q\x00", b"r\xff\xff\xff\x0f", b"0", b"1", b"\x8f", b"\x90", b"\x92", b"o", b"i", b"d", b"l"),
    ]  # fmt: skip
    return b"\x80\x04" + b"".join(random.choices(pieces, k=random.randrange(1, 40))) + b"."


def resaved(random: random.Random, folder: Path) -> bytes:
    """Return a shard that holds something else."""
    import torch

    file = io.BytesIO()
    torch.save(
        random.choice([Evil(folder / "made"), torch.eye(3).to_sparse(), [1], torch.ones(random.randrange(9))]), file
    )
    return file.getvalue()


def test_checkpoints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import torch
    from safetensors import safe_open

    state = {"model": {"w": torch.ones(4, 6), "b": torch.ones(3), "s": torch.tensor(1)}, "step": 3}
    save(tmp_path / "ck", state)
    metadata, shard = ((tmp_path / "ck" / name).read_bytes() for name in (".metadata", "__0_0.distcp"))
    (tmp_path / "outside").write_bytes(shard)
    WATCH.folder = tmp_path
    main([str(tmp_path / "ck"), str(tmp_path / "first")])
    before, ended = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, set[int]()

    def one_round(random: random.Random) -> None:
        files = {".metadata": metadata, "__0_0.distcp": shard}
        match random.randrange(5):
            case 0:
                files[".metadata"] = scratched(random, metadata)
            case 1:
                files["__0_0.distcp"] = scratched(random, shard)
            case 2:
                files[".metadata"] = spelled(random, tmp_path)
            case 3:
                files["__0_0.distcp"] = resaved(random, tmp_path) + shard
            case _:
                files[".metadata"] = forged(random, metadata, tmp_path)
        for name, content in files.items():
            (tmp_path / "ck" / name).write_bytes(content)
        WATCH.seen, WATCH.on = [], True
        try:
            status = main([str(tmp_path / "ck"), str(tmp_path / "out")])
        finally:
            WATCH.on = False
        printed = capsys.readouterr()
        assert not WATCH.seen
        assert not (tmp_path / "made").exists()
        assert "\x1b" not in printed.out + printed.err
        assert (status, len(printed.err.splitlines())) in [(0, 0), (1, 1), (2, 1)], printed.err
        assert len(printed.err) < 2000
        if status == 0:
            with safe_open(tmp_path / "out" / SAFE, "pt") as file:
                assert [file.get_tensor(name) for name in file.keys()]  # noqa: SIM118
            shutil.rmtree(tmp_path / "out")
        assert not (tmp_path / "out").exists()
        ended.add(status)

    fuzz(one_round)
    assert ended >= {0, 1}, "some must be fine, and some not"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < GROWTH
