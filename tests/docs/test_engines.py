"""The page on engines: its package is built and installed, and starts real ranks with a stand-in for Flux."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from accel_config import CATALOGUE
from accel_launch.engines.declaration import Engine
from tests.conftest import BIN, ROOT
from tests.docs.pages import Block, blocks, stage
from tests.docs.test_commands import agrees, around, commands, settled, shell
from tests.environments import UV

PAGE = ROOT / "docs" / "engines.md"
PROGRAMS = Path(__file__).with_name("programs")
# What pip does, without the index: accel-launch is installed.
PIP = f'pip() {{ {UV} pip install --quiet --offline --no-deps --python {sys.executable} --target site "$2"; }}\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    if UV is None:
        pytest.skip("uv isn't on PATH: the page's package can't be installed")
    return stage(PAGE, tmp_path / "project")


def test_the_page_builds_an_engine(folder: Path, environ: dict[str, str]) -> None:
    sessions = [block for block in blocks(PAGE) if block.kind == "console"]
    assert len(sessions) > 1
    environ = {
        **around(sessions[0], environ),
        "PATH": f"{PROGRAMS}:{BIN}:{environ['PATH']}",
        "PYTHONPATH": str(folder / "site"),
        "FLUX_URI": "local:///run/flux/local",
    }
    for block in sessions:
        run(block, folder, environ)


def run(block: Block, folder: Path, environ: dict[str, str]) -> None:
    """Run a session in one folder after another, unlike those of other pages, which are each run alone."""
    status = 0
    for command, shown in commands(block.text):
        done = shell(f"{PIP}(exit {status})\n{command}", folder, environ)
        status = done.returncode
        assert agrees(settled(shown, folder), settled(done.stdout, folder)), f"$ {command}{done.stdout[:4000]}"


def test_the_page_declares_every_setting(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(folder / "accel-flux" / "src"))
    import accel_flux  # pyright: ignore[reportMissingImports]

    engine: Engine = accel_flux.ENGINE  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    assert [setting.name for setting in CATALOGUE.settings if engine.reason(setting) is None] == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "--ntask=2", "true"], "unrecognized arguments"),
        (["run", "-o", "exit-on-eror", "--nodes=1", "true"], "unknown shell options"),
        (["run", "--nodes=2", "true"], "node count must not be greater than task count"),
        (["runn", "true"], "is not a flux command"),
    ],
)
def test_the_stand_in_is_strict(environ: dict[str, str], tmp_path: Path, words: list[str], message: str) -> None:
    done = shell(f"{PROGRAMS}/flux {' '.join(words)}", tmp_path, {**environ, "FLUX_URI": "local://"})
    assert done.returncode != 0
    assert message in done.stdout
    assert os.access(PROGRAMS / "flux", os.X_OK)
