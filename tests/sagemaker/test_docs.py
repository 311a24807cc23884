"""What the page and the README show in Python and YAML works, on a moto server."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.schedule import sampled

PAGE = ROOT / "docs" / "sagemaker.md"
README = ROOT / "packages" / "accel-sagemaker" / "README.md"


@pytest.mark.parametrize("page", sampled([PAGE, README], every=2), ids=lambda page: page.name)
def test_the_python_runs(page: Path, amazon: dict[str, str], environ: dict[str, str], tmp_path: Path) -> None:
    (config,) = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    (tmp_path / "sagemaker.yaml").write_text(config)
    (tmp_path / "train.py").touch()
    (source,) = re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", source + "\nprint(submitted.console)"],
        cwd=tmp_path,
        env={**environ, **amazon},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "region=eu-west-1#/jobs/digits-" in done.stdout


def test_every_argument_and_setting_is_on_the_page() -> None:
    from accel_config.catalogue import SageMaker
    from accel_sagemaker.building.arguments import ARGUMENTS

    text = PAGE.read_text()
    for name in (*ARGUMENTS, *(one.name for one in SageMaker.settings)):
        assert name in text, f"docs/sagemaker.md doesn't tell {name}"
