"""`accel name`: whose `accelerate` is, and that uninstalling either distribution leaves it to the other."""

from __future__ import annotations

import csv
import os
import subprocess
from base64 import urlsafe_b64encode
from hashlib import sha256
from pathlib import Path

import pytest

from tests.environments import UV, uv

pytestmark = [pytest.mark.timeout(300), pytest.mark.skipif(UV is None, reason="uv isn't on PATH")]
LIBRARY = "accelerate>=1.10"
SHARED = (
    "accelerate",
    "accelerate-config",
    "accelerate-estimate-memory",
    "accelerate-launch",
    "accelerate-merge-weights",
)
OURS = (*SHARED, "accelerate-env", "accelerate-test")
Done = subprocess.CompletedProcess[str]


class Place:
    """An environment with both distributions, installed and uninstalled by pip or by uv."""

    def __init__(self, folder: Path, tool: str, built: Path, environ: dict[str, str]) -> None:
        uv("venv", "--quiet", "--no-project", "--seed", folder)
        self.bin, self.tool, self.built = folder / "bin", tool, built
        self.environ = {**environ, "PATH": f"{self.bin}:/usr/bin:/bin", "PYTHONPATH": ""}

    def install(self, *distributions: str) -> None:
        """Install them one after the other; the library alone, whose needs are heavy and have no say here."""
        for name in distributions:
            words = [LIBRARY, "--no-deps"] if name == "accelerate" else [name, "--find-links", self.built]
            if self.tool == "uv":
                uv(
                    "pip",
                    "install",
                    "--quiet",
                    "--reinstall-package",
                    name,
                    "--python",
                    self.bin / "python",
                    "--no-sources",
                    *words,
                )
            else:
                self.run(
                    "python",
                    "-m",
                    "pip",
                    "install",
                    "--quiet",
                    "--no-cache-dir",
                    "--force-reinstall",
                    "--no-deps",
                    *words,
                )
                if name == "accel-cli":
                    self.run("python", "-m", "pip", "install", "--quiet", *words)

    def uninstall(self, name: str) -> None:
        if self.tool == "uv":
            uv("pip", "uninstall", "--quiet", "--python", self.bin / "python", name)
        else:
            self.run("python", "-m", "pip", "uninstall", "--quiet", "--yes", name)

    def run(self, *words: str | Path, status: int = 0) -> str:
        command = [str(self.bin / words[0]), *map(str, words[1:])]
        done = subprocess.run(command, env=self.environ, capture_output=True, text=True, timeout=120)
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr

    def whose(self, script: str = "accelerate") -> str:
        """Whose command a script runs. Without torch the library can't be imported; that it is tried shows whose."""
        path = self.bin / script
        if not path.exists():
            return "nobody's"
        done = subprocess.run([path, "--help"], env=self.environ, capture_output=True, text=True, timeout=120)
        if done.returncode == 0:
            return "ours"
        return "theirs" if "/site-packages/accelerate/" in done.stderr else done.stderr

    def scripts(self) -> set[str]:
        return {path.name for path in self.bin.glob("accelerate*")}

    def record(self, start: str) -> list[list[str]]:
        (record,) = self.bin.parent.glob(f"lib/python*/site-packages/{start}-*.dist-info/RECORD")
        return list(csv.reader(record.read_text().splitlines()))


@pytest.fixture
def place(request: pytest.FixtureRequest, built: Path, tmp_path: Path, environ: dict[str, str]) -> Place:
    return Place(tmp_path / "env", request.param, built, environ)


both_tools = pytest.mark.parametrize(
    "place", ["uv", pytest.param("pip", marks=pytest.mark.exhaustive)], indirect=True
)


CASES = [
    *(("uv", word, gone) for word in ("take", "give") for gone in ("accelerate", "accel-cli")),
    *(("pip", "take", "accelerate"), ("pip", "give", "accel-cli")),
]


@pytest.mark.exhaustive
@pytest.mark.parametrize(("place", "word", "gone"), CASES, indirect=["place"])
def test_uninstalling_one_leaves_the_name_to_the_other(place: Place, word: str, gone: str) -> None:
    place.install("accel-cli", "accelerate")
    assert place.whose() == "theirs"
    said = place.run("accel", "name", word)
    whose, owner = ("ours", "accel-cli") if word == "take" else ("theirs", "accelerate")
    assert said == "".join(f"{place.bin / name} belongs to {owner}\n" for name in said_order(said))
    assert set(said_order(said)) == set(SHARED)
    assert place.run("accel", "name") == f"{place.bin / 'accelerate'} belongs to {owner}\n"
    assert {place.whose(name) for name in SHARED} == {whose}
    check_records(place)
    place.uninstall(gone)
    remaining = "ours" if gone == "accelerate" else "theirs"
    assert {place.whose(name) for name in SHARED} == {remaining}
    if remaining == "ours":  # and then it is as if we had been alone from the start
        place.run("accel", "name", "take")
        check_records(place)
        place.uninstall("accel-cli")
        assert place.scripts() == set()


def said_order(said: str) -> list[str]:
    return [Path(line.split()[0]).name for line in said.splitlines()]


def check_records(place: Place) -> None:
    """What the distributions list exists, with the hash and size that are listed."""
    site = next(place.bin.parent.glob("lib/python*/site-packages"))
    for start in ("accel_cli", "accelerate"):
        for name, digest, size in place.record(start) if any(site.glob(f"{start}-*.dist-info")) else ():
            content = (site / name).read_bytes() if digest else b""
            found = "sha256=" + urlsafe_b64encode(sha256(content).digest()).rstrip(b"=").decode()
            # Each of two installers overwrites the script of the other, which lists its own all the same.
            assert not digest or (found, str(len(content))) == (digest, size), name


@pytest.mark.exhaustive
@both_tools
def test_an_upgrade_takes_the_name_and_it_can_be_taken_again(place: Place) -> None:
    place.install("accel-cli", "accelerate")
    place.run("accel", "name", "take")
    place.install("accelerate")
    assert place.whose() == "theirs"
    assert place.run("accel", "name") == (
        f"{place.bin / 'accelerate'} belongs to accelerate\nuninstalling accelerate deletes it; run: accel name give\n"
    )
    place.run("accel", "name", "take")
    place.install("accel-cli")
    assert place.run("accel", "name").splitlines()[1:] == ["uninstalling accel-cli deletes it; run: accel name take"]
    place.run("accel", "name", "take")
    place.uninstall("accelerate")
    assert place.whose() == "ours"


@pytest.mark.exhaustive
@both_tools
def test_the_name_comes_back_after_it_was_deleted(place: Place) -> None:
    place.install("accelerate", "accel-cli")
    assert place.run("accel", "name").count("; run: accel name take\n") == 2
    place.uninstall("accelerate")
    assert place.whose() == "nobody's"
    assert place.run("accel", "name") == "there is no accelerate on PATH; run: accel name take\n"
    place.run("accel", "name", "take")
    assert {place.whose(name) for name in SHARED} == {"ours"}
    assert place.scripts() == set(OURS)
    place.uninstall("accel-cli")
    assert place.scripts() == set()


@pytest.mark.exhaustive
@pytest.mark.parametrize("place", ["uv"], indirect=True)
def test_what_cannot_be_given_is_said(place: Place) -> None:
    place.install("accel-cli")
    assert "Hugging Face's accelerate isn't installed here" in place.run("accel", "name", "give", status=2)
    place.run("accel", "name", "take")
    assert place.whose() == "ours"
    place.install("accelerate")
    place.run("accel", "name", "give")
    place.uninstall("accelerate")
    place.uninstall("accel-cli")
    left = subprocess.run([place.bin / "accelerate"], env=place.environ, capture_output=True, text=True)
    assert left.returncode == 1
    assert left.stderr.endswith("neither accel-cli nor accelerate is installed; delete this file\n")


@pytest.mark.exhaustive
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may switch to another user")
@pytest.mark.parametrize("place", ["uv"], indirect=True)
def test_a_folder_that_may_not_be_written_is_named(place: Place) -> None:
    place.install("accel-cli", "accelerate")
    script = place.bin / "accelerate"
    before = script.read_text()
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", place.bin / "accel", "name", "take"]
    for folder in (place.bin.parent.parent, *place.bin.parent.parent.parents):
        folder.chmod(folder.stat().st_mode | 0o055)
    done = subprocess.run(nobody, env=place.environ, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.endswith("can't be written: Permission denied\n")
    assert script.read_text() == before


@pytest.mark.exhaustive
@pytest.mark.parametrize("place", ["uv"], indirect=True)
def test_the_installers_cache_is_not_changed(place: Place) -> None:
    """uv's files are links to those of its cache, which other environments share."""
    place.install("accel-cli", "accelerate")
    (points,) = place.bin.parent.glob("lib/python*/site-packages/accelerate-*.dist-info/entry_points.txt")
    other = points.with_name("linked")
    os.link(points, other)
    before = other.read_text()
    place.run("accel", "name", "take")
    assert other.read_text() == before != points.read_text()
