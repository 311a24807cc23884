"""The notebook, opened by Jupyter's own client in an environment of its own: its cells launch, and show what they say."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.environments import environment

NOTEBOOK = ROOT / "examples" / "launch.ipynb"


def outputs(notebook: Path) -> list[str]:
    """What stands below each cell of code, as text."""
    cells: list[dict[str, Any]] = json.loads(notebook.read_text())["cells"]
    return ["".join(map(text, cell["outputs"])) for cell in cells if cell["cell_type"] == "code"]


def text(output: dict[str, Any]) -> str:
    assert output["output_type"] != "error", output
    return "".join(output["text"] if "text" in output else output["data"]["text/plain"])


def told(shown: list[str]) -> None:
    _, trained, broken, failure, planned = shown
    assert trained.count("epoch ") == 5
    assert "held-out images, 2 ranks" in trained
    assert trained.endswith("0")
    assert broken.count("ValueError: no such column") == 1
    assert failure == "(1, 1, 'ValueError: no such column')"
    assert planned.splitlines() == ["#!/bin/sh", "# 2 processes on CPU, MULTI_CPU, precision no, engine local"]


def test_what_it_shows_on_the_page_is_from_such_a_run() -> None:
    told(outputs(NOTEBOOK))


@pytest.mark.stress
@pytest.mark.timeout(900)
def test_its_cells_launch(tmp_path: Path, environ: dict[str, str]) -> None:
    pytest.importorskip("torch")
    where = environment("torch", "notebook")
    for name in ("launch.ipynb", "train_digits.py"):
        shutil.copy(ROOT / "examples" / name, tmp_path)
    done = subprocess.run(
        [where / "jupyter", "execute", "--inplace", "launch.ipynb"],
        env={**environ, "PATH": f"{where}:{environ['PATH']}", "IPYTHONDIR": str(tmp_path / "ipython")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    told(outputs(tmp_path / "launch.ipynb"))
    assert not (tmp_path / "broken.py").exists()
