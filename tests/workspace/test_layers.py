"""Which package may import which: read from the code."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

from tests.conftest import ROOT

MAY_IMPORT = {
    "accel_config": set[str](),
    "accel_launch": {"accel_config"},
    # For one front of commands, one kind of record and of error, and one atomic writer in all six packages.
    "accel_estimate": {"accel_config"},
    "accel_tpu": {"accel_config", "accel_launch"},
    "accel_sagemaker": {"accel_config", "accel_launch"},
    "accel_cli": {"accel_config", "accel_launch", "accel_estimate", "accel_tpu"},
}


@cache
def imported(path: Path) -> set[str]:
    """The top-level modules that a file imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.partition(".")[0])
    return found


@pytest.mark.parametrize("package", sorted(MAY_IMPORT))
def test_arrows_point_one_way(package: str) -> None:
    source = ROOT / "packages" / package.replace("_", "-") / "src" / package
    files = list(source.rglob("*.py"))
    assert files
    for path in files:
        siblings = {name for name in imported(path) if name.startswith("accel_")} - {package}
        assert siblings <= MAY_IMPORT[package], f"{path.relative_to(ROOT)} imports {siblings - MAY_IMPORT[package]}"


@pytest.mark.parametrize("package", sorted(MAY_IMPORT))
def test_what_is_imported_is_declared(package: str) -> None:
    folder = ROOT / "packages" / package.replace("_", "-")
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    declared = {
        line.split("[")[0].split(">")[0].split("=")[0].strip().replace("-", "_") for line in project["dependencies"]
    }
    used = {name for path in folder.rglob("*.py") for name in imported(path) if name.startswith("accel_")} - {package}
    assert used <= declared


def test_commands_about_runs_use_what_programs_use() -> None:
    """The processes that are kept warm are no runs."""
    folder = ROOT / "packages/accel-cli/src/accel_cli/commands/runs"
    for path in folder.glob("*.py"):
        modules = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
        inner = {node.module for node in modules if (node.module or "").startswith("accel_launch.running")}
        assert inner <= {"accel_launch.running.guardian.preloading"}, f"{path.name} imports {inner}"


# The distributions of modules that are called otherwise.
DISTRIBUTIONS = {"yaml": "pyyaml", "huggingface_hub": "huggingface-hub", "botocore": "boto3"}
# What the user's own environment has, or not: asked of it, never a need of ours.
OF_THE_USER = {
    *("torch", "torch_xla", "accelerate", "deepspeed", "transformers", "timm", "sagemaker", "safetensors", "numpy"),
    "IPython",
}


def others(path: Path) -> set[str]:
    """The modules of others that a file imports: neither the standard library's nor ours."""
    return {name for name in imported(path) if name not in sys.stdlib_module_names and not name.startswith("accel_")}


@pytest.mark.parametrize("package", sorted(MAY_IMPORT))
def test_libraries_that_are_imported_are_declared(package: str) -> None:
    """By the package itself: another package of ours may stop bringing it."""
    folder = ROOT / "packages" / package.replace("_", "-")
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    extras = [line for lines in project.get("optional-dependencies", {}).values() for line in lines]
    declared = {re.split(r"[^A-Za-z0-9_-]", line)[0].lower() for line in (*project["dependencies"], *extras)}
    declared |= {name.replace("-", "_") for name in declared}
    for path in folder.rglob("*.py"):
        used = {DISTRIBUTIONS.get(name, name) for name in others(path) - OF_THE_USER}
        # Programs for the ranks' interpreter find each other by their folders.
        siblings = (
            {part for one in folder.rglob("ranks/**/*.py") for part in (one.stem, one.parent.name)}
            if "ranks" in path.parts
            else set[str]()
        )
        assert used - siblings <= declared, f"{path.relative_to(ROOT)} imports {used - siblings - declared}"


def test_the_guard_sees_imports_inside_functions(tmp_path: Path) -> None:
    path = tmp_path / "x.py"
    path.write_text("def f():\n    from accel_cli.main import main\n")
    assert imported(path) == {"accel_cli"}
