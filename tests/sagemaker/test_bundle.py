"""The source bundle: which files, under which names, and always the same bytes."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from accel_config import AccelError
from accel_sagemaker import bundle


def fill(root: Path, *names: str) -> Path:
    for name in ("train.py", *names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"this is {name}\n")
    return root


def names(root: Path) -> list[str]:
    return [file.name for file in bundle.collect(root, "train.py", {}, 1).files]


def test_the_folder_of_the_script_is_sent_whole(tmp_path: Path) -> None:
    fill(tmp_path, "requirements.txt", "lib/model.py", "lib/data/table.csv")
    assert names(tmp_path) == ["lib/data/table.csv", "lib/model.py", "requirements.txt", "train.py"]


def test_what_nobody_wants_to_send_stays_out(tmp_path: Path) -> None:
    fill(tmp_path, ".git/config", "__pycache__/a.pyc", "lib/__pycache__/b.pyc", ".venv/x", "accel_entry.json")
    fill(tmp_path, "lib/.git", ".env", ".env.local", ".envrc", ".netrc", ".ssh/id")
    assert names(tmp_path) == ["train.py"]


def test_the_ignore_file_is_gits_words(tmp_path: Path) -> None:
    fill(tmp_path, "data/a.bin", "data/keep.txt", "out.log", "lib/out.log", "lib/model.py", ".env")
    (tmp_path / ".gitignore").write_text("lib/\n")
    (tmp_path / ".sagemakerignore").write_text("# big things\ndata/*\n!data/keep.txt\n*.log\n!.env\n")
    assert names(tmp_path) == [".env", ".gitignore", "data/keep.txt", "lib/model.py", "train.py"]
    (tmp_path / ".sagemakerignore").unlink()
    assert names(tmp_path) == [".gitignore", "data/a.bin", "data/keep.txt", "out.log", "train.py"]


def test_the_bytes_follow_from_the_files_alone(tmp_path: Path) -> None:
    packed: list[bytes] = []
    for place, when in (("a", 1_000_000_000), ("b", 1_700_000_000)):
        root = fill(tmp_path / place, "lib/model.py")
        for name in ("train.py", "lib/model.py"):
            (root / name).chmod(0o600 if place == "a" else 0o664)
            os.utime(root / name, (when, when))
        packed.append(bundle.collect(root, "train.py", {"script": "train.py"}, 1).pack())
    assert packed[0] == packed[1]
    assert packed[0][4:8] == bytes(4), "the archive's head tells when it was packed"
    (tmp_path / "b" / "train.py").write_text("something else\n")
    assert bundle.collect(tmp_path / "b", "train.py", {"script": "train.py"}, 1).pack() != packed[0]


def test_the_archive_unpacks_to_the_files_and_our_program(tmp_path: Path) -> None:
    root = fill(tmp_path / "source", "run.sh")
    (root / "run.sh").chmod(0o755)
    (tmp_path / "outside.txt").write_text("linked\n")
    (root / "link.txt").symlink_to(tmp_path / "outside.txt")
    packed = bundle.collect(root, "train.py", {"script": "train.py"}, 1).pack()
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(tmp_path / "code", filter="data")
        assert {member.mtime for member in archive} == {0}
    code = tmp_path / "code"
    assert (code / "link.txt").read_text() == "linked\n"
    assert os.access(code / "run.sh", os.X_OK)
    assert (code / "accel_entry.py").read_text() == Path(bundle.__file__).with_name("entry.py").read_text()


def test_a_folder_that_is_too_large_is_refused_with_its_largest_files(tmp_path: Path) -> None:
    fill(tmp_path)
    with (tmp_path / "weights.bin").open("wb") as file:
        file.truncate(1_500_000)
    with pytest.raises(AccelError, match=r"larger than 1 MB, with weights.bin \(1.5 MB\).*\.sagemakerignore"):
        names(tmp_path)


def test_a_name_that_the_container_refuses_is_refused(tmp_path: Path) -> None:
    fill(tmp_path, "my data.csv")
    with pytest.raises(AccelError, match=r"my data.csv: the container takes only names of"):
        names(tmp_path)


def test_a_script_that_is_ignored_is_refused(tmp_path: Path) -> None:
    fill(tmp_path)
    (tmp_path / ".sagemakerignore").write_text("*.py\n")
    with pytest.raises(AccelError, match=r"train\.py isn't sent"):
        names(tmp_path)


def test_setup_py_at_the_root_is_left_out_with_a_note(tmp_path: Path) -> None:
    made = bundle.collect(fill(tmp_path, "setup.py", "lib/setup.py"), "train.py", {}, 1)
    assert [file.name for file in made.files] == ["lib/setup.py", "train.py"]
    assert "setup.py is left out" in made.notes[0]


def test_links_that_are_not_followed_are_told(tmp_path: Path) -> None:
    fill(tmp_path, "lib/model.py")
    (tmp_path / "lib" / "loop").symlink_to(tmp_path)
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "ignored.log").symlink_to(tmp_path / "nowhere")
    (tmp_path / ".gitignore").write_text("*.log\n")
    made = bundle.collect(tmp_path, "train.py", {}, 1)
    assert [file.name for file in made.files] == [".gitignore", "lib/model.py", "train.py"]
    assert sorted(note.partition(" isn't sent: it is a link")[0] for note in made.notes) == ["dangling", "lib/loop"]


def test_a_folder_that_cannot_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, "lib/model.py")
    scan = os.scandir

    def denied(path: str) -> object:
        if str(path).endswith("lib"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", denied)
    with pytest.raises(AccelError, match=r"/lib can't be read: Permission denied"):
        names(tmp_path)
