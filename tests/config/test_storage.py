"""Files are replaced as a whole: whatever happens, the old content is there or the new."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from accel_config import AccelError
from accel_config.writing.storage import replace, save


def test_folders_are_made(tmp_path: Path) -> None:
    save(str(tmp_path / "a" / "b" / "c.yaml"), b"x")
    assert (tmp_path / "a" / "b" / "c.yaml").read_bytes() == b"x"


def test_the_mode_is_kept_and_a_new_file_has_the_usual_one(tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(b"x")
    (tmp_path / "old").chmod(0o640)
    save(str(tmp_path / "old"), b"y")
    assert (tmp_path / "old").stat().st_mode & 0o777 == 0o640
    mask = os.umask(0o027)
    try:
        save(str(tmp_path / "new"), b"y")
    finally:
        os.umask(mask)
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o640


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to somebody else, and take it over")
def test_the_owner_is_kept(tmp_path: Path) -> None:
    (tmp_path / "c").write_bytes(b"x")
    os.chown(tmp_path / "c", 12345, 54321)
    save(str(tmp_path / "c"), b"y")
    there = (tmp_path / "c").stat()
    assert (there.st_uid, there.st_gid) == (12345, 54321)


def test_links_stay_links(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "c").write_bytes(b"x")
    (tmp_path / "link").symlink_to("real/c")
    (tmp_path / "link2").symlink_to(tmp_path / "link")
    save(str(tmp_path / "link2"), b"y")
    assert (tmp_path / "link2").is_symlink()
    assert (tmp_path / "real" / "c").read_bytes() == b"y"
    assert [path.name for path in (tmp_path / "real").iterdir()] == ["c"]
    (tmp_path / "dangling").symlink_to("real/new")
    save(str(tmp_path / "dangling"), b"z")
    assert (tmp_path / "real" / "new").read_bytes() == b"z"


@pytest.mark.parametrize("path", ["folder", "/dev/null", "file/below"])
def test_what_is_no_file_is_refused(tmp_path: Path, path: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(AccelError, match=path) as refused:
        save(str(tmp_path / path), b"y")
    assert refused.value.status == 1
    assert (tmp_path / "file").read_bytes() == b"x"


def test_what_a_killed_writer_left_is_swept(tmp_path: Path) -> None:
    (tmp_path / ".c.yaml.123.tmp").write_bytes(b"half")
    (tmp_path / ".c.yaml.mine.tmp").write_bytes(b"not ours")
    save(str(tmp_path / "c.yaml"), b"y")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".c.yaml.mine.tmp", "c.yaml"]


WRITER = """
import sys
from accel_config.writing.storage import replace, save
path, letter = sys.argv[1], sys.argv[2].encode()
for _turn in range(int(sys.argv[3])):
    save(path, letter * 300_000)
"""


def writer(path: Path, letter: str, turns: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", WRITER, str(path), letter, str(turns)])


def test_two_writers_never_mix(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    both = [writer(path, letter, 40) for letter in "ab"]
    looks = 0
    while any(one.poll() is None for one in both):
        if path.exists():
            content = path.read_bytes()
            assert (len(content), len(set(content))) == (300_000, 1)
            looks += 1
    assert [one.wait() for one in both] == [0, 0]
    assert looks > 5
    assert [one.name for one in tmp_path.iterdir()] == ["c.yaml"]


def test_a_kill_at_any_moment_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(b"o" * 300_000)
    for turn in range(12):
        one = writer(path, "n" if turn % 2 else "m", 100_000)
        time.sleep(0.1 + turn * 0.011)
        one.send_signal(signal.SIGKILL)
        assert one.wait() == -signal.SIGKILL
        content = path.read_bytes()
        assert (len(content), len(set(content))) == (300_000, 1)
    assert set(path.read_bytes()) != set(b"o")  # the writers did get to write
    save(str(path), b"after")
    assert [found.name for found in tmp_path.iterdir()] == ["c.yaml"]


def test_a_planted_link_is_never_written_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever could guess the name of the new file."""
    target, victim = tmp_path / "config.yaml", tmp_path / "victim"
    victim.write_text("theirs")
    monkeypatch.setattr("os.urandom", bytes)
    (tmp_path / ".config.yaml.0.tmp").symlink_to(victim)
    with pytest.raises(AccelError, match="can't be written: File exists"):
        replace(str(target), b"ours")
    assert victim.read_text() == "theirs"
    assert not target.exists()


def test_the_new_file_is_as_private_as_the_old_one_from_its_first_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who has opened it can read what comes later."""
    target = tmp_path / "config.yaml"
    target.write_text("old")
    target.chmod(0o600)
    modes: list[int] = []
    real = os.open

    def watched(path: str, flags: int, mode: int = 0o777) -> int:
        fd = real(path, flags, mode)
        modes.append(os.fstat(fd).st_mode & 0o777)
        return fd

    monkeypatch.setattr("os.open", watched)
    replace(str(target), b"new")
    assert modes[0] == 0o600
    assert target.stat().st_mode & 0o777 == 0o600
