"""Each package, built, installed alone into a clean environment, and used there."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT

UV = os.environ.get("UV") or shutil.which("uv")
pytestmark = pytest.mark.skipif(UV is None, reason="uv isn't on PATH: wheels can't be built")

# What each is asked for once it stands alone, and what it answers.
ALONE = {
    "accel-config": ["import accel_config as a; print(len(a.CATALOGUE.settings) > 100)", "True"],
    "accel-launch": ["import accel_launch as a; print(a.Host.here().cores > 0)", "True"],
    "accel-estimate": ["import accel_estimate; print(True)", "True"],
    "accel-tpu": ["import accel_tpu; print(True)", "True"],
    "accel-sagemaker": ["import accel_sagemaker; print(True)", "True"],
    "accel-cli": ["import accel_cli.main as a; print(a.main(['lanch']))", "2"],
}


def uv(*words: str | Path) -> str:
    done = subprocess.run(
        [str(UV), *map(str, words)], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheels")
    uv("build", "--all-packages", "--out-dir", folder, "--quiet")
    assert len(list(folder.glob("*.whl"))) == len(list(folder.glob("*.tar.gz"))) == len(ALONE)
    return folder


def install(wheels: Path, folder: Path, name: str) -> Path:
    uv("venv", "--quiet", "--no-project", folder)
    python = folder / "bin" / "python"
    uv("pip", "install", "--quiet", "--python", python, "--find-links", wheels, "--no-sources", name)
    return folder / "bin"


@pytest.mark.parametrize("name", sorted(ALONE))
def test_alone(wheels: Path, tmp_path: Path, name: str, environ: dict[str, str]) -> None:
    where = install(wheels, tmp_path / "env", name)
    ask, answer = ALONE[name]
    done = subprocess.run(
        [where / "python", "-c", ask], capture_output=True, text=True, timeout=60, env=environ, cwd=tmp_path
    )
    assert done.stdout.strip() == answer, done.stderr
    installed = {path.name for path in (tmp_path / "env").glob("lib/python*/site-packages/accel_*") if path.is_dir()}
    if name == "accel-estimate":
        assert {entry.split("-")[0] for entry in installed} == {"accel_estimate"}


def test_the_full_install_launches(wheels: Path, tmp_path: Path, environ: dict[str, str]) -> None:
    where = install(wheels, tmp_path / "env", "accel-cli")
    (tmp_path / "x.py").write_text("import os; print(os.environ['ACCELERATE_MIXED_PRECISION'])")
    for script in ("accelerate", "accel"):
        done = subprocess.run(
            [where / script, "launch", "--mixed_precision", "bf16", "x.py"],
            capture_output=True, text=True, timeout=60, env=environ, cwd=tmp_path,
        )  # fmt: skip
        assert done.stdout == "bf16\n", done.stderr
