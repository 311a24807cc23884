"""The hints that say how to install something: run as they are printed, in environments that were made in each way."""

from __future__ import annotations

import ast
import os
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.environments import UV, uv
from tests.installing import Environment, clone
from tests.schedule import sampled

__all__ = ["clone"]

pytestmark = [pytest.mark.timeout(300), pytest.mark.skipif(UV is None, reason="uv isn't on PATH")]


PIP, WITH_UV = "pip install --quiet", "uv pip install --quiet"
# How somebody installs accel-launch, run in the clone; and how the hints for the extra and for another package begin.
WAYS: dict[str, tuple[str, str, str]] = {
    "pip, wheels": (
        PIP + " {built}/accel_config-*.whl {built}/accel_launch-*.whl",
        "pip install '{built}/accel_launch-0.1.0-py3-none-any.whl[nvml]'",
        "pip install {built}/accel_tpu-0.1.0-py3-none-any.whl",
    ),
    "pip, clone": (
        PIP + " ./packages/accel-{{config,launch}}",
        "pip install '{clone}/packages/accel-launch[nvml]'",
        "pip install {clone}/packages/accel-tpu",
    ),
    "pip, editable": (
        PIP + " -e ./packages/accel-config -e ./packages/accel-launch",
        "pip install -e '{clone}/packages/accel-launch[nvml]'",
        "pip install -e {clone}/packages/accel-tpu",
    ),
    "uv, wheels": (
        WITH_UV + " {built}/accel_config-*.whl {built}/accel_launch-*.whl",
        "uv pip install --python {bin}/python '{built}/accel_launch-0.1.0-py3-none-any.whl[nvml]'",
        "uv pip install --python {bin}/python {built}/accel_tpu-0.1.0-py3-none-any.whl",
    ),
    "uv, clone": (
        WITH_UV + " ./packages/accel-launch",
        "uv pip install --python {bin}/python '{clone}/packages/accel-launch[nvml]'",
        "uv pip install --python {bin}/python {clone}/packages/accel-tpu",
    ),
    "uv, editable": (
        WITH_UV + " -e ./packages/accel-launch",
        "uv pip install --python {bin}/python -e '{clone}/packages/accel-launch[nvml]'",
        "uv pip install --python {bin}/python -e {clone}/packages/accel-tpu",
    ),
    "uv, git": (
        WITH_UV + " 'git+file://{clone}#subdirectory=packages/accel-launch'",
        (
            "uv pip install --python {bin}/python 'accel-launch[nvml] @ git+file://{clone}@{commit}"
            "#subdirectory=packages/accel-launch'"
        ),
        (
            "uv pip install --python {bin}/python 'accel-tpu @ git+file://{clone}@{commit}"
            "#subdirectory=packages/accel-tpu'"
        ),
    ),
}


@pytest.mark.parametrize("way", sampled(WAYS, every=8))
@pytest.mark.exhaustive
def test_a_hint_works_as_it_is_printed(way: str, built: Path, clone: Path, tmp_path: Path) -> None:
    install, extra, other = WAYS[way]
    here = Environment(tmp_path / "env", pip=way.startswith("pip"))
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=clone, capture_output=True, text=True, check=True)
    facts = {"built": built, "clone": clone, "bin": here.bin, "commit": commit.stdout.strip()}
    here.type(install.format(**facts), clone)
    for requirement, expected, brought in (
        ("accel-launch[nvml]", extra, "nvidia-ml-py"),
        ("accel-tpu", other, "accel-tpu"),
    ):
        hint = here.hint(requirement)
        assert hint == expected.format(**facts)
        assert not here.has(brought)
        here.type(hint, tmp_path)
        assert here.has(brought)


@pytest.mark.exhaustive
def test_with_pipx(built: Path, tmp_path: Path) -> None:
    """pipx has an environment for each command, and its own word for what is to go into that."""
    here = Environment(tmp_path / "pipx", pip=False)
    uv("pip", "install", "--quiet", "--python", here.bin / "python", "pipx")
    here.environ |= {"PIPX_HOME": str(tmp_path / "home"), "PIPX_BIN_DIR": str(tmp_path / "commands")}
    here.environ |= {
        "PIP_FIND_LINKS": f"{os.environ.get('PIP_FIND_LINKS', '')} {built}",
        "PIPX_DEFAULT_BACKEND": "pip",
    }
    here.type(f"pipx install {built}/accel_cli-*.whl")
    accelerate = f"{tmp_path}/commands/accelerate"
    assert "accel-cli 0.1.0\n" in here.type(f"{accelerate} --version")
    said = here.type(f"{accelerate} sagemaker status job 2>&1 || true")
    line = f"pipx inject accel-cli {built}/accel_sagemaker-0.1.0-py3-none-any.whl"
    assert said == f"accelerate sagemaker: accel-sagemaker isn't installed; run: {line}\n"
    here.type(line)
    assert "accel-sagemaker 0.1.0\n" in here.type(f"{accelerate} --version")


@pytest.mark.parametrize("source", sampled(["names", "files"], every=2))
def test_as_a_tool_of_uv(built: Path, tmp_path: Path, source: str) -> None:
    here = Environment(tmp_path / "env", pip=False)
    here.environ |= {"UV_TOOL_DIR": str(tmp_path / "tools"), "UV_TOOL_BIN_DIR": str(tmp_path / "commands")}
    parts = "".join(
        f" --with {built}/accel_{part}-0.1.0-py3-none-any.whl" for part in ("config", "launch", "estimate", "tpu")
    )
    ours = f"--find-links {built} accel-cli" if source == "names" else f"{built}/accel_cli-*.whl{parts}"
    here.type(f"uv tool install --quiet {ours}")
    accelerate = f"{tmp_path}/commands/accelerate"
    said = here.type(f"{accelerate} sagemaker status job 2>&1 || true")
    sagemaker = "accel-sagemaker" if source == "names" else f"{built}/accel_sagemaker-0.1.0-py3-none-any.whl"
    line = f"uv pip install --python {tmp_path}/tools/accel-cli/bin/python {sagemaker}"
    assert said == f"accelerate sagemaker: accel-sagemaker isn't installed; run: {line}\n"
    here.type(line if source == "files" else f"{line} --find-links {built}")
    assert "accel-sagemaker 0.1.0\n" in here.type(f"{accelerate} --version")


@pytest.mark.exhaustive
def test_for_one_user(built: Path, tmp_path: Path) -> None:
    """`pip install --user` with the system's Python: what is added goes to the same folder."""
    python = next((path for path in map(Path, ("/usr/bin/python3.13", "/usr/bin/python3.11")) if path.exists()), None)
    pip = python and subprocess.run([python, "-m", "pip", "--version"], capture_output=True, timeout=60)
    if pip is None or pip.returncode:
        pytest.skip("the system's Python has no pip")
    here = Environment(tmp_path / "env", pip=False)
    here.environ |= {"PYTHONUSERBASE": str(tmp_path / "user"), "PATH": f"{tmp_path}/user/bin:/usr/bin:/bin"}
    here.type(
        f"{python} -m pip install --quiet --user --break-system-packages {built}/accel_config-*.whl {built}/accel_launch-*.whl"
    )
    code = "from accel_config.showing.installing import command; print(command('accel-launch[nvml]'))"
    line = here.type(f'{python} -c "{code}"').strip()
    assert " install --user " in line
    here.type(line)
    assert list((tmp_path / "user").rglob("nvidia_ml_py-*"))


@pytest.mark.exhaustive
def test_from_an_index_the_names_are_enough(built: Path, tmp_path: Path) -> None:
    """A folder given with --find-links is an index to installers: nothing is written down about it."""
    here = Environment(tmp_path / "env", pip=True)
    here.type(f"{PIP} --find-links {built} accel-launch")
    assert here.hint("accel-launch[nvml]") == "pip install 'accel-launch[nvml]'"
    assert here.hint("accel-tpu") == "pip install accel-tpu"
    here.type(here.hint("accel-launch[nvml]"))
    assert here.has("nvidia-ml-py")


@pytest.mark.exhaustive
def test_an_environment_that_is_not_activated_is_named(built: Path, tmp_path: Path) -> None:
    here = Environment(tmp_path / "env", pip=True)
    here.type(f"{PIP} {built}/accel_config-*.whl")
    here.environ["PATH"] = os.environ["PATH"]
    assert here.hint("torch") == f"{here.bin}/python -m pip install torch"


def test_the_ranks_interpreter_is_named(clone: Path, tmp_path: Path) -> None:
    from accel_config.showing.installing import command

    theirs = Environment(tmp_path / "theirs", pip=False)
    python = str(theirs.bin / "python")
    assert command("torch", python=python) == f"uv pip install --python {python} torch"
    assert command("deepspeed", python="/usr/bin/python3", upgrade=True) == (
        "/usr/bin/python3 -m pip install -U deepspeed"
    )


def test_a_password_in_an_address_is_not_printed(built: Path, tmp_path: Path) -> None:
    here = Environment(tmp_path / "env", pip=False)
    uv("pip", "install", "--quiet", "--python", here.bin / "python", *built.glob("accel_config-*.whl"))
    (record,) = here.bin.parent.glob("lib/python*/site-packages/accel_config-*.dist-info")
    vcs = '"vcs_info": {"vcs": "git", "commit_id": "abc"}, "subdirectory": "packages/accel-config"'
    (record / "direct_url.json").write_text(f'{{"url": "https://me:hidden@host/accel.git", {vcs}}}')
    assert here.hint("accel-launch").endswith(
        "'accel-launch @ git+https://host/accel.git@abc#subdirectory=packages/accel-launch'"
    )
    for broken in ("", "[]", "{", '{"url": 3}', '{"url": "file:///nowhere", "dir_info": {}}', '{"vcs_info": 1}'):
        (record / "direct_url.json").write_text(broken)
        assert here.hint("accel-tpu").endswith("install --python " + str(here.bin / "python") + " accel-tpu")


# Words for other machines, and the module from which every other hint takes its command.
ELSEWHERE = ("accel_tpu/shell.py", "accel_tpu/pod.py", "accel_tpu/spawn.py", "showing/installing.py")


def literals(source: str) -> list[str]:
    """Return the texts of a module that say how to install something, without its docstrings."""
    tree = ast.parse(source)
    loose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    texts = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in loose)
    return [text.value for text in texts if isinstance(text.value, str) and "pip install" in text.value]


@pytest.mark.exhaustive
def test_every_hint_takes_its_command_from_one_place() -> None:
    """A command that is written out sends people with another installer nowhere, or to an index without our names."""
    files = [path for path in ROOT.glob("packages/*/src/**/*.py") if not str(path).endswith(ELSEWHERE)]
    found = {path.relative_to(ROOT).as_posix(): literals(path.read_text()) for path in files}
    assert len(files) > 200
    assert not {name: texts for name, texts in found.items() if texts}
    assert literals('"""pip install a"""\nx = f"{x}: pip install {y}"') == [": pip install "]
