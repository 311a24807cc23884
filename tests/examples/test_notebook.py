"""The notebook, opened by Jupyter's own client in an environment of its own: its cells launch, and show what they say."""

from __future__ import annotations

import json
import shutil
import subprocess
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.environments import environment
from tests.launch.processes import marked, until

NOTEBOOK = ROOT / "examples" / "launch.ipynb"


def outputs(notebook: Path) -> list[str]:
    """What stands below each cell of code, as text."""
    cells: list[dict[str, Any]] = json.loads(notebook.read_text())["cells"]
    return ["".join(map(text, cell["outputs"])) for cell in cells if cell["cell_type"] == "code"]


def text(output: dict[str, Any]) -> str:
    assert output["output_type"] != "error", output
    return "".join(output["text"] if "text" in output else output["data"]["text/plain"])


def told(shown: list[str]) -> None:
    _, trained, broken, failure, returned, raised, planned = shown
    assert trained.count("epoch ") == 5
    assert "held-out images, 2 ranks" in trained
    assert trained.endswith("0")
    assert broken.count("ValueError: no such column") == 1
    assert failure == "(1, 1, 'ValueError: no such column')"
    assert returned == "[3, 6]"
    assert raised.startswith("rank 1: ValueError: scale -1\n")
    assert '    raise ValueError(f"scale {scale}")\n' in raised  # the line of the cell, which is in no file
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


# A kernel of Jupyter's that runs a cell and is interrupted, as by the button; it prints what the cell raised.
INTERRUPTING = """
import time
from pathlib import Path
from jupyter_client.manager import start_new_kernel

cell = '''
import time
from pathlib import Path
from accel_launch import launch

def train():
    import os
    try:
        Path(os.environ["RANK"]).touch()
        for _ in range(600):
            time.sleep(0.1)
    except KeyboardInterrupt:
        Path("saved-" + os.environ["RANK"]).touch()

launch(train, cpu=True, num_processes=2)
'''
manager, client = start_new_kernel()
sent = client.execute(cell)
while not (Path("0").exists() and Path("1").exists()):
    time.sleep(0.1)
manager.interrupt_kernel()
while (reply := client.get_shell_msg(timeout=60))["parent_header"].get("msg_id") != sent:
    pass
print(reply["content"]["ename"])
client.stop_channels()
manager.shutdown_kernel()
"""


@pytest.mark.stress
@pytest.mark.timeout(900)
def test_interrupting_the_kernel_ends_the_ranks(tmp_path: Path, environ: dict[str, str]) -> None:
    environ["ACCEL_TEST_MARK"] = uuid.uuid4().hex
    mark = f"ACCEL_TEST_MARK={environ['ACCEL_TEST_MARK']}"
    where = environment("torch", "notebook")
    done = subprocess.run(
        [where / "python", "-c", INTERRUPTING],
        env={**environ, "PATH": f"{where}:{environ['PATH']}", "IPYTHONDIR": str(tmp_path / "ipython")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout == "KeyboardInterrupt\n", done.stderr
    assert sorted(path.name for path in tmp_path.glob("saved-*")) == ["saved-0", "saved-1"]
    assert until(lambda: not marked(mark), 10)
