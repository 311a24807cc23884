"""Every way to start a command, from a wheel in a clean environment and in one that holds Hugging Face's library."""

from __future__ import annotations

import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.environments import environment, install, uv

pytestmark = pytest.mark.timeout(600)
PROJECT = ROOT / "packages" / "accel-cli"
SCRIPTS = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["scripts"]
STAND_INS = PROJECT / "src" / "accel_cli" / "_compat"
MODULES = ("env", "launch", "estimate", "config", "config.config", "test", "tpu", "merge", "to_fsdp2")
LIBRARY = "accelerate>=1.10"


@pytest.fixture(scope="module")
def clean(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ``bin`` folder of an environment with our wheels and what they need, without torch."""
    return install(tmp_path_factory.mktemp("clean") / "env", "accel-cli", "--find-links", built)


Done = subprocess.CompletedProcess[str]
Start = Callable[..., Done]


@pytest.fixture
def start(environ: dict[str, str], tmp_path: Path) -> Start:
    def run(*words: str | Path) -> Done:
        return subprocess.run(
            list(map(str, words)), env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=120
        )

    return run


def answers(done: Done, called: str) -> None:
    """The command was reached, and calls itself ``called``."""
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: {called} ")


@pytest.mark.parametrize("script", [name for name in SCRIPTS if name.startswith("accelerate-")])
def test_console_scripts(clean: Path, start: Start, script: str) -> None:
    answers(start(clean / script, "--help"), script)


@pytest.mark.parametrize("script", ["accelerate", "accel"])
def test_the_whole_command(clean: Path, start: Start, script: str) -> None:
    assert f"usage: {script} COMMAND" in start(clean / script, "--help").stdout
    assert start(clean / script).returncode == 2
    assert "Did you mean 'launch'" in start(clean / script, "lunch").stderr


@pytest.mark.parametrize("module", MODULES)
def test_modules(clean: Path, start: Start, module: str) -> None:
    name = f"accelerate.commands.{module}"
    answers(start(clean / "python", "-m", name, "--help"), f"python -m {name}")


def test_the_module_of_the_whole_command(clean: Path, start: Start) -> None:
    done = start(clean / "python", "-maccelerate.commands.accelerate_cli", "--help")
    assert "usage: accelerate COMMAND" in done.stdout, done.stderr


def test_every_stand_in_is_tested() -> None:
    found = {
        ".".join(path.relative_to(STAND_INS / "accelerate" / "commands").with_suffix("").parts)
        for path in STAND_INS.rglob("*.py")
        if path.is_relative_to(STAND_INS / "accelerate" / "commands") and path.name != "__init__.py"
    }
    assert found == {*MODULES, "accelerate_cli"} - {"config"} | {"config.__main__"}


# What each command says first where one of our distributions isn't there.
LACKING = {
    "launch": ("env", "launch --help", "test --cpu", "to-fsdp2 --config_file x", "tpu-config --help"),
    "estimate": ("estimate-memory x",),
    "tpu": ("tpu-config --help",),
    "sagemaker": ("sagemaker --help",),
    "config": (
        "config --help",
        "lunch",
        "env",
        "launch --help",
        "merge-weights a b",
        "estimate-memory x --training --config_file y",
    ),
}


@pytest.mark.parametrize("part", LACKING)
def test_a_part_that_is_missing_is_named(clean: Path, start: Start, tmp_path: Path, part: str) -> None:
    (tmp_path / "sitecustomize.py").write_text(f"import sys\nsys.modules['accel_{part}'] = None\n")
    for words in LACKING[part]:
        done = start("env", f"PYTHONPATH={tmp_path}", clean / "accel", *words.split())
        assert (done.returncode, done.stdout) == (2, "")
        called = "accel" if words == "lunch" else f"accel {words.split()[0]}"
        way = f"run: uv pip install --python {clean}/python accel-{part}"
        way = "install accel-cli again, with its dependencies" if part == "config" else way
        assert done.stderr == f"{called}: accel-{part} isn't installed; {way}\n"


FIND = "import importlib.util as u; print(u.find_spec('accelerate'))"


def test_nobody_takes_us_for_the_library(clean: Path, start: Start, tmp_path: Path) -> None:
    assert start(clean / "python", "-c", FIND, "-m", "accelerate.commands.env").stdout == "None\n"
    (tmp_path / "x.py").write_text(FIND)
    # A script that a module of ours starts is a process like any other, one that it becomes included.
    for flags in ([], ["--num_processes", "2"]):
        done = start(clean / "python", "-m", "accelerate.commands.launch", "--cpu", *flags, "x.py")
        assert set(done.stdout.splitlines()) == {"None"}, done.stderr


def test_bare_config_is_the_wizard(clean: Path, start: Start, environ: dict[str, str]) -> None:
    done = start(clean / "accelerate-config", "--yes")
    assert done.returncode == 0, done.stderr
    assert Path(environ["HF_HOME"], "accelerate", "default_config.yaml").is_file()


def owner(where: Path) -> str:
    """The module that the script `accelerate` imports."""
    line = next(line for line in (where / "accelerate").read_text().splitlines() if line.startswith("from "))
    return line.split()[1].partition(".")[0]


@pytest.mark.exhaustive
@pytest.mark.parametrize("first", ["theirs", "ours"])
def test_beside_the_library(built: Path, tmp_path: Path, start: Start, first: str) -> None:
    """The later one's script wins; whichever it is, `accel` is ours, and the library is itself."""
    ours = ("accel-cli", "--find-links", str(built))
    theirs = (LIBRARY, "--no-deps")  # its needs are heavy, and none of them has a say in whose files these are
    one, other = (theirs, ours) if first == "theirs" else (ours, theirs)
    where = install(tmp_path / "env", *one)
    uv("pip", "install", "--quiet", "--python", where / "python", "--no-sources", *other)
    assert owner(where) == ("accel_cli" if first == "theirs" else "accelerate")
    shown = start("env", f"PATH={where}:/usr/bin:/bin", where / "accel", "env").stdout
    assert f"`accelerate` belongs to: {'accel-cli' if first == 'theirs' else 'accelerate'}" in shown
    assert start(where / "accel", "launch", "--help").returncode == 0
    found = start(where / "python", "-c", FIND.replace("('accelerate')", "('accelerate').origin")).stdout
    assert found.endswith("site-packages/accelerate/__init__.py\n")
    # Without torch it can't be imported; that it is tried is what shows whose module is run.
    done = start(where / "python", "-m", "accelerate.commands.env")
    assert "site-packages/accelerate/__init__.py" in done.stderr


@pytest.mark.exhaustive
def test_the_librarys_own_modules_run_beside_us(start: Start) -> None:
    where = environment("hf")
    done = start(where / "python", "-m", "accelerate.commands.env")
    assert done.returncode == 0, done.stderr
    assert "`Accelerate` version: 1." in done.stdout
    assert start(where / "accel", "--version").stdout.startswith("accel-cli ")
