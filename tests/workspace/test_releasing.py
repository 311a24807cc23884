"""A package is released in a copy of the workspace: versions, CHANGELOG, fragments, lock, sdist and wheel."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.environments import UV

pytestmark = pytest.mark.skipif(UV is None, reason="uv isn't on PATH: packages can't be built")

Release = Callable[..., subprocess.CompletedProcess[str]]
FRAGMENT = re.compile(r"\d+\.(feature|fix|removal)\.md")
PACKAGES = {path.parent.name for path in ROOT.glob("packages/*/pyproject.toml")}


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A copy of the files that git tracks or would track, as a repository of its own."""
    copy = tmp_path / "workspace"
    listed = git(ROOT, "ls-files", "--cached", "--others", "--exclude-standard", "-z")
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
    git(copy, "init", "--quiet")
    commit(copy)
    return copy


def git(folder: Path, *words: str) -> str:
    own = ["-c", "user.name=tests", "-c", "user.email=tests@example.org"]
    done = subprocess.run(["git", *own, *words], cwd=folder, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout


def commit(folder: Path) -> None:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "a state")


@pytest.fixture
def release(workspace: Path) -> Release:
    """Run the release script of the copy, without network: ``release("accel-tpu", "0.1.1")``."""

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "scripts/release.py", *words, "--date", "2026-12-01"],
            cwd=workspace, env={**os.environ, "UV_OFFLINE": "1"}, capture_output=True, text=True, timeout=150,
        )  # fmt: skip

    return run


def unchanged(workspace: Path) -> bool:
    return not git(workspace, "status", "--porcelain", "--ignored")


def test_every_fragment_has_its_package_and_kind() -> None:
    files = [path for path in (ROOT / "changes").rglob("*") if path.is_file() and path.name != "README.md"]
    assert files
    for path in files:
        assert path.parent.name in PACKAGES, path
        assert FRAGMENT.fullmatch(path.name), path
        assert path.read_text().strip(), path


def test_a_patch_of_one_package(workspace: Path, release: Release) -> None:
    (workspace / "changes/accel-tpu").mkdir(exist_ok=True)
    (workspace / "changes/accel-tpu/77.fix.md").write_text("A line of two\nlines.\n")
    commit(workspace)
    fragments = sorted(f"changes/accel-tpu/{path.name}" for path in (workspace / "changes/accel-tpu").iterdir())
    done = release("accel-tpu", "0.1.1")
    assert done.returncode == 0, done.stderr
    changed = {line[3:]: line[:2].strip() for line in git(workspace, "status", "--porcelain").splitlines()}
    assert changed == {
        **dict.fromkeys(fragments, "D"),
        "packages/accel-tpu/CHANGELOG.md": "M",
        "packages/accel-tpu/pyproject.toml": "M",
        "uv.lock": "M",
    }
    project = tomllib.loads((workspace / "packages/accel-tpu/pyproject.toml").read_text())["project"]
    assert project["version"] == "0.1.1"
    log = (workspace / "packages/accel-tpu/CHANGELOG.md").read_text()
    assert log.startswith("# Changelog of accel-tpu\n\n## 0.1.1 (2026-12-01)\n")
    last = log.index("- A line of two\n  lines. (#77)\n\n## 0.1.0\n")
    assert log.index("### Added") < log.index("### Fixed\n\n- ") <= last
    assert sorted(path.name for path in (workspace / "dist").iterdir()) == [
        "accel_tpu-0.1.1-py3-none-any.whl",
        "accel_tpu-0.1.1.tar.gz",
    ]
    # The lock holds the new version, so that nothing else has to change.
    subprocess.run([str(UV), "lock", "--check", "--offline"], cwd=workspace, check=True, capture_output=True)


def test_a_wrong_version_is_refused(workspace: Path, release: Release) -> None:
    for version in ("0.1.0", "0.1.2", "0.0.9", "0.3.0", "next"):
        done = release("accel-tpu", version)
        assert done.returncode == 2
        wanted = (
            "release: 'next' isn't a version\n"
            if version == "next"
            else f"release: accel-tpu 0.1.0 can be followed by 0.1.1 or 0.2.0 or 1.0.0, not by {version}\n"
        )
        assert (done.stdout, done.stderr) == ("", wanted)
        assert unchanged(workspace)
    done = release("accel-tpu", "0.1.1", "--date", "tomorrow")
    assert done.returncode == 2
    assert "argument --date: invalid" in done.stderr
    assert unchanged(workspace)


def test_a_removal_needs_a_breaking_version(workspace: Path, release: Release) -> None:
    (workspace / "changes/accel-tpu/77.removal.md").write_text("The flag --old.\n")
    commit(workspace)
    done = release("accel-tpu", "0.1.1")
    assert done.returncode == 2
    assert "by 0.2.0 or 1.0.0, because of changes/accel-tpu/77.removal.md, not by 0.1.1" in done.stderr
    assert unchanged(workspace)


def test_dependents_must_admit_the_version(workspace: Path, release: Release) -> None:
    done = release("accel-launch", "0.2.0")
    assert done.returncode == 2
    assert done.stderr == "".join(
        [
            *(
                f"release: packages/accel-{name}/pyproject.toml: 'accel-launch{extra}>=0.1.0,<0.2' doesn't admit accel-launch 0.2.0\n"
                for name, extra in (("cli", "[stacks]"), ("sagemaker", ""), ("tpu", ""))
            ),
            "release: change these bounds, or let --widen raise their upper limits\n",
        ]
    )
    assert unchanged(workspace)
    done = release("accel-launch", "0.2.0", "--widen")
    assert done.returncode == 0, done.stderr
    for name, extra in (("cli", "[stacks]"), ("sagemaker", ""), ("tpu", "")):
        text = (workspace / f"packages/accel-{name}/pyproject.toml").read_text()
        assert f'"accel-launch{extra}>=0.1.0,<0.3"' in text
        assert 'version = "0.1.0"' in text
    subprocess.run([str(UV), "lock", "--check", "--offline"], cwd=workspace, check=True, capture_output=True)


def test_a_package_that_cannot_be_built_changes_nothing(workspace: Path, release: Release) -> None:
    (workspace / "packages/accel-tpu/LICENSE").unlink()  # its metadata names the file
    commit(workspace)
    done = release("accel-tpu", "0.1.1")
    assert done.returncode == 2
    assert done.stderr.startswith("release: accel-tpu can't be built:\n")
    assert unchanged(workspace)


def test_a_fragment_without_a_kind_is_refused(workspace: Path, release: Release) -> None:
    for name in ("19.md", "feature.md", "19.news.md"):
        fragment = workspace / "changes/accel-tpu" / name
        fragment.write_text("x\n")
        commit(workspace)
        done = release("accel-tpu", "0.1.1")
        assert done.returncode == 2
        assert f"changes/accel-tpu/{name} isn't named ISSUE.KIND.md" in done.stderr
        assert unchanged(workspace)
        fragment.unlink()


def test_nothing_to_release(workspace: Path, release: Release) -> None:
    shutil.rmtree(workspace / "changes/accel-tpu")
    commit(workspace)
    done = release("accel-tpu", "0.1.1")
    assert (done.returncode, done.stderr) == (
        2, "release: changes/accel-tpu has no fragments, so there is nothing to release\n"
    )  # fmt: skip
    assert unchanged(workspace)
