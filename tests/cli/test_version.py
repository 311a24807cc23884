"""Every command prints its version, and every package has it as `__version__`."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import pytest

from accel_cli.main import PARTS
from accel_cli.table import COMMANDS
from tests.conftest import BIN, Run
from tests.schedule import sampled

PACKAGES = [f"accel_{part}" for part in ("cli", *PARTS)]


def distribution(module: str) -> str:
    """The distribution of a module of ours."""
    return module.partition(".")[0].replace("_", "-")


def check(done: subprocess.CompletedProcess[str], name: str) -> None:
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{name} {version(name)}\n", "")


@pytest.mark.parametrize("command", sampled(COMMANDS, every=3))
def test_commands_of_accelerate(accelerate: Run, command: str) -> None:
    module, _help = COMMANDS[command]
    # These are commands of their packages, to which accel-cli adds a flag or a command.
    name = {"estimate-memory": "accel-estimate", "config": "accel-config"}.get(command) or distribution(module)
    check(accelerate(command, "--version"), name)


@pytest.mark.parametrize(
    "command",
    [
        "accel-config",
        "accel-launch",
        "accel-estimate",
        "accel-tpu",
        "accel-tpu pod run",
        "accel-tpu pod config",
        "accel-sagemaker",
    ],
)
def test_commands_of_one_package(command: str) -> None:
    script, *words = command.split()
    done = subprocess.run([BIN / script, *words, "--version"], capture_output=True, text=True, timeout=60)
    check(done, script)


@pytest.mark.parametrize("package", PACKAGES)
def test_packages(package: str) -> None:
    module = import_module(package)
    assert module.__version__ == version(distribution(package))
    assert "__version__" not in module.__all__, (
        "`from … import *` would overwrite the version of the module that says it"
    )
    assert set(module.__all__) <= set(dir(module))
    with pytest.raises(AttributeError, match="no attribute 'strange'"):
        getattr(module, "strange")  # noqa: B009  the attribute is looked up when this runs


@pytest.mark.parametrize("package", PACKAGES)
def test_the_version_costs_nothing_until_it_is_used(package: str) -> None:
    code = f"import sys, {package}; sys.exit('importlib.metadata' in sys.modules)"
    assert subprocess.run([sys.executable, "-S", "-c", code], env={"PYTHONPATH": _path()}, timeout=60).returncode == 0


def _path() -> str:
    """The sources of all packages; without site, `.pth` files don't import anything first."""
    from tests.conftest import ROOT

    return ":".join(map(str, sorted(ROOT.glob("packages/*/src"))))


@pytest.fixture(scope="module")
def without_metadata(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A command line that finds our packages' modules, and whatever they need, but no metadata of ours."""
    folder, found = tmp_path_factory.mktemp("modules"), set[str]()
    own = [str(Path(str(import_module(package).__file__)).parents[1]) for package in PACKAGES]
    for place in filter(os.path.isdir, sys.path):
        for path in Path(place).iterdir() if place.endswith("-packages") else ():
            if not path.name.startswith(("accel", "__editable__")) and path.name not in found:
                found.add(path.name)
                (folder / path.name).symlink_to(path)
    start = f"import sys; sys.path += {[*own, str(folder)]!r}; from accel_cli.main import main; sys.exit(main())"
    return [sys.executable, "-I", "-S", "-c", start]


@pytest.mark.parametrize("command", sampled(([], *([name] for name in COMMANDS)), every=4))
def test_without_metadata_no_command_fails(
    without_metadata: list[str], command: list[str], environ: dict[str, str]
) -> None:
    """As in a checkout on PYTHONPATH, or a program that carries the modules alone."""
    done = subprocess.run([*without_metadata, *command, "--version"], capture_output=True, text=True, env=environ)
    assert (done.returncode, done.stderr) == (0, "")
    assert "version unknown" in done.stdout or not command


@pytest.mark.parametrize(
    "words",
    [
        ["env"],
        ["stacks"],
        ["name"],
        ["test", "--help"],
        ["tpu-config", "--tpu_name", "a", "--tpu_zone", "b", "--install_accelerate", "--debug"],
    ],
)
def test_nor_what_reads_them(without_metadata: list[str], words: list[str], environ: dict[str, str]) -> None:
    done = subprocess.run([*without_metadata, *words], capture_output=True, text=True, env=environ)
    assert "Traceback" not in done.stderr
    assert done.returncode in (0, 2)
