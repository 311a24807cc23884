"""Each package, built, installed alone into a clean environment of each Python on the machine, and used there."""

from __future__ import annotations

import re
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from accel_cli.table import COMMANDS
from tests.conftest import ROOT
from tests.environments import install, uv
from tests.interpreters import VERSIONS, find
from tests.schedule import sampled
from tests.workspace.test_layers import MAY_IMPORT

pytestmark = pytest.mark.timeout(300)

RANKS = "import os\nprint('rank', os.environ['RANK'], 'of', os.environ['WORLD_SIZE'])\n"
JOB = (
    "--ec2_instance_type ml.g5.xlarge --iam_role_name arn:aws:iam::123456789012:role/training "
    "--image_uri registry/image:1 --region eu-west-1 --dry_run --json train.py --lr 1e-3"
)
POD = "pod run --tpu_name pod --tpu_zone us-central1-a --dry_run -- nproc --all"
# For each package: its own command, what it is asked to do, what it then says, and its use from Python.
ALONE: dict[str, tuple[str, str, tuple[str, ...], str]] = {
    "accel-config": (
        "accel-config",
        "set --config_file run.yaml num_processes 4",
        ("num_processes: 2 -> 4 (run.yaml:1)\n",),
        "from accel_config.reading.files import load; from accel_config import CATALOGUE; load(CATALOGUE, 'run.yaml')",
    ),
    "accel-launch": (
        "accel-launch",
        "--cpu --num_processes 2 train.py",
        ("rank 0 of 2\n", "rank 1 of 2\n"),
        "import accel_config as c, accel_launch as l; l.plan(c.resolve(c.CATALOGUE, []), l.Host.here(), ('train.py',))",
    ),
    "accel-estimate": (
        "accel-estimate",
        "model --json",
        ('"parameters": 2064,',),
        "from accel_estimate import Ask, estimate, load; assert estimate(load('model'), Ask()).to_json()",
    ),
    "accel-tpu": (
        "accel-tpu",
        POD,
        ("gcloud compute tpus tpu-vm ssh pod --zone us-central1-a --command 'exec nproc --all' --worker all\n",),
        "from accel_tpu import Pod, run; Pod('pod', 'us-central1-a')",
    ),
    "accel-sagemaker": (
        "accel-sagemaker",
        f"launch {JOB}",
        ('"TrainingJobName"', '"ml.g5.xlarge"', "sourcedir.tar.gz"),
        "from accel_sagemaker import job, submit",
    ),
    "accel-cli": (
        "accelerate",
        "launch --cpu --num_processes 2 train.py",
        ("rank 0 of 2\n", "rank 1 of 2\n"),
        "import accel_cli, accel_config, accel_launch, accel_estimate, accel_tpu",
    ),
}
Start = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def start(tmp_path: Path, environ: dict[str, str]) -> Start:
    """Run something to its end in a folder with a script, a config file and a model."""
    (tmp_path / "train.py").write_text(RANKS)
    (tmp_path / "run.yaml").write_text("num_processes: 2\n")
    (tmp_path / "model").mkdir()
    header = b'{"weight": {"dtype": "F32", "shape": [2064], "data_offsets": [0, 8256]}}'
    (tmp_path / "model" / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(8256))

    def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            list(map(str, words)), cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60
        )

    return run


def test_the_sdist_builds_the_same_wheel(built: Path, tmp_path: Path) -> None:
    """A wheel is built from its sdist; built from the sources it has to be the same to the byte."""
    uv("build", "--all-packages", "--wheel", "--out-dir", tmp_path, "--quiet")
    from_sources = {path.name: path.read_bytes() for path in tmp_path.glob("*.whl")}
    assert from_sources == {path.name: path.read_bytes() for path in built.glob("*.whl")}
    assert len(from_sources) == len(list(built.glob("*.tar.gz"))) == len(ALONE)


@pytest.mark.parametrize("name", ALONE)
def test_a_wheel_holds_its_own_and_no_more(built: Path, name: str) -> None:
    module = name.replace("-", "_")
    (wheel,) = built.glob(f"{module}-*.whl")
    files = zipfile.ZipFile(wheel).namelist()
    info = next(path.partition("/")[0] for path in files if path.endswith(".dist-info/METADATA"))
    tops = {module, info, *([info.replace("dist-info", "data")] if name == "accel-cli" else [])}
    assert {path.partition("/")[0] for path in files} == tops
    assert not [path for path in files if re.search(r"(^|/)(tests?_|conftest|__pycache__)", path)]
    assert {f"{module}/py.typed", f"{module}/__main__.py", f"{info}/licenses/LICENSE"} <= set(files)
    sources = ROOT / "packages" / name / "src"
    own = {path.relative_to(sources).as_posix() for path in (sources / module).rglob("*") if path.is_file()}
    assert not {path for path in own if "__pycache__" not in path} - set(files), (
        "files of the package that are left out"
    )


# By default every third package is installed, each for another Python.
COUNT = len(VERSIONS)
PAIRS = [(VERSIONS[(place + more) % COUNT], name) for place, name in enumerate(ALONE) for more in range(COUNT)]


@pytest.mark.parametrize(("version", "name"), sampled(PAIRS, every=3 * COUNT))
def test_alone(built: Path, tmp_path: Path, start: Start, version: str, name: str) -> None:
    python = find(version)
    if python is None:
        pytest.skip(f"Python {version} isn't on this machine")
    where = install(tmp_path / "env", name, "--find-links", built, python=python)
    command, words, said, use = ALONE[name]
    module = name.replace("-", "_")
    for words_before in ([where / command], [where / "python", "-m", module]):
        (tmp_path / "run.yaml").write_text("num_processes: 2\n")
        done = start(*words_before, *words.split())
        assert done.returncode == 0, done.stderr
        assert all(text in done.stdout for text in said), done.stdout
    done = start(where / "python", "-W", "error", "-c", use)
    assert done.returncode == 0, done.stderr
    ours = {path.name for path in (tmp_path / "env").glob("lib/python*/site-packages/accel_*") if path.is_dir()}
    assert {folder.partition("-")[0] for folder in ours} == MAY_IMPORT[module] | {module}


# What each command is asked, and the parts that it can't do without.
NEEDS = {
    "config": ("get num_processes --config_file run.yaml", "config"),
    "completion": ("bash", "config"),
    "env": ("--json", "config launch"),
    "estimate-memory": ("model --training --config_file run.yaml", "config launch estimate"),
    "launch": ("--cpu --num_processes 2 train.py", "config launch"),
    "merge-weights": ("--help", "config"),
    "stacks": ("--help", "config"),
    "ps": ("--warm", "config launch"),
    "report": ("--help", "config"),
    "wait": ("--help", "config"),
    "logs": ("--help", "config"),
    "attach": ("--help", "config"),
    "stop": ("--warm", "config launch"),
    "top": ("--help", "config"),
    "name": ("--help", "config"),
    "test": ("--cpu", "config launch"),
    "to-fsdp2": ("--help", "config launch"),
    "tpu-config": ("--tpu_name p --tpu_zone z --command nproc --dry_run", "config launch tpu"),
    "sagemaker": (f"launch {JOB}", "config launch sagemaker"),
}


@pytest.fixture(scope="module")
def full(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ``bin`` folder of an environment with everything, without torch."""
    folder = tmp_path_factory.mktemp("full") / "env"
    return install(folder, "accel-cli", "accel-sagemaker", "--find-links", built)


def remedy(part: str, where: Path) -> str:
    """What a command says where this part is missing; the hints come from accel-config."""
    if part == "accel-config":
        return "install accel-cli again, with its dependencies"
    return f"run: uv pip install --python {where}/python {part}"


@pytest.mark.exhaustive
@pytest.mark.parametrize("part", [name for name in ALONE if name != "accel-cli"])
def test_a_missing_part_is_named_by_the_commands_that_need_it(
    built: Path, full: Path, start: Start, part: str
) -> None:
    assert set(NEEDS) == set(COMMANDS)
    uv("pip", "uninstall", "--quiet", "--python", full / "python", part)
    try:
        for command, (words, needed) in NEEDS.items():
            done = start(full / "accelerate", command, *words.split())
            if part.removeprefix("accel-") in needed.split():
                assert re.fullmatch(rf"accelerate\b.* {part} isn't installed; {remedy(part, full)}\n", done.stderr), (
                    done.stderr
                )
                assert done.returncode == 2
            else:
                assert "Traceback" not in done.stderr, done.stderr
        assert f"{part} isn't installed\n" in start(full / "accelerate", "--version").stdout
    finally:
        uv("pip", "install", "--quiet", "--python", full / "python", "--no-deps", "--find-links", built, part)


# Commands that need a library of others, and what they say without it.
LIBRARIES = {
    "boto3": ("boto3", "sagemaker status job --region eu-west-1", "accelerate sagemaker status: "),
    "botocore": ("boto3", f"launch --compute_environment AMAZON_SAGEMAKER {JOB}", "accelerate launch: "),
    "pathspec": ("pathspec", f"launch --compute_environment AMAZON_SAGEMAKER {JOB}", "accelerate launch: "),
    "yaml": ("pyyaml", "config get num_processes --config_file run.yaml", "accelerate config: "),
    "rich": ("rich", "estimate-memory model", "accelerate estimate-memory: "),
    "huggingface_hub": ("huggingface-hub", "estimate-memory some/model", "accelerate estimate-memory: "),
}


@pytest.mark.parametrize("module", sampled(LIBRARIES, every=3))
def test_a_missing_library_is_named_with_the_line_that_installs_it(
    full: Path, start: Start, tmp_path: Path, module: str
) -> None:
    library, words, called = LIBRARIES[module]
    (tmp_path / "sitecustomize.py").write_text(f"import sys\nsys.modules['{module}'] = None\n")
    done = start("env", f"PYTHONPATH={tmp_path}", full / "accelerate", *words.split())
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith(called)
    assert done.stderr.endswith(f"{library} isn't installed; run: uv pip install --python {full}/python {library}\n")


def test_engines_of_parts_that_are_missing_are_named(built: Path, tmp_path: Path, start: Start) -> None:
    where = install(tmp_path / "env", "accel-launch", "--find-links", built)
    for flags, part in (("--tpu", "accel-tpu"), ("--compute_environment AMAZON_SAGEMAKER", "accel-sagemaker")):
        done = start(where / "accel-launch", *flags.split(), "train.py")
        assert done.returncode == 2
        assert re.search(rf"comes with {part}: uv pip install --python {where}/python {part}\n$", done.stderr)
