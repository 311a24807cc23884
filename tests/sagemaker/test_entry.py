"""The program in the bundle, started by the real toolkit of SageMaker's containers."""

from __future__ import annotations

import ast
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from accel_sagemaker import entry, job, submit
from accel_sagemaker.building import bundle
from tests.conftest import Resolve
from tests.environments import environment
from tests.launch.processes import PAUSE
from tests.schedule import sampled

from .conftest import CONFIG, keys, until
from .container import PYTORCH, Container
from .service import ACCOUNT

Start = Callable[..., Container]

TELLS = """
import json, os, sys
json.dump({"argv": sys.argv[1:], "environ": dict(os.environ), "cwd": os.getcwd()}, open(os.environ["SEEN"], "w"))
"""


@pytest.fixture(scope="session")
def toolkit() -> Path:
    """The programs of an environment with SageMaker's training toolkit and torch."""
    return environment("sagemaker-container")


@pytest.fixture
def container(toolkit: Path, settings: Resolve, tmp_path: Path) -> Start:
    """Make the container of a job that runs a script with these arguments."""

    def make(script: str, *args: str, config: str = CONFIG) -> Container:
        folder = tmp_path / "source"
        folder.mkdir()
        (folder / "train.py").write_text(script)
        request = job(settings(file=config), str(folder / "train.py"), args)
        return Container(tmp_path / "opt", toolkit, request)

    return make


@pytest.mark.parametrize("image", sampled([{}, PYTORCH], every=2), ids=["plain", "pytorch"])
@pytest.mark.exhaustive
def test_the_script_gets_its_words_variables_and_channels(
    image: dict[str, str], container: Start, tmp_path: Path
) -> None:
    words = ("data", "--fp16", "--lr", "1e-4", "--ids", "007", "--", "-x", "--sagemaker_program", "a b'\"$c")
    made = container(TELLS, *words)
    status, output = made.run(SEEN=str(tmp_path / "seen"), **image)
    assert status == 0, output
    seen = json.loads((tmp_path / "seen").read_text())
    assert seen["argv"] == list(words)
    assert seen["environ"]["ACCELERATE_MIXED_PRECISION"] == "bf16"
    assert seen["environ"]["ACCELERATE_USE_SAGEMAKER"] == "true"
    assert seen["environ"]["SM_CHANNEL_TRAIN"] == str(made.base / "input/data/train")
    assert seen["cwd"] == str(made.base / "code")
    assert (made.base / "output" / "success").exists()


@pytest.mark.parametrize("image", sampled([{}, PYTORCH], every=2), ids=["plain", "pytorch"])
def test_status_and_reason_are_what_the_service_shows(image: dict[str, str], container: Start) -> None:
    made = container("def train():\n    raise ValueError('no such data')\n\n\ntrain()\n")
    status, output = made.run(**image)
    assert status == 1  # the toolkit's own, always
    assert made.failure == "ExitCode 1: ValueError: no such data (train.py:2)"
    assert "Traceback (most recent call last):" in output


@pytest.mark.parametrize(
    ("script", "failure"),
    sampled(
        [
            ("raise SystemExit(7)", "ExitCode 7: nothing on standard error"),
            (
                "import traceback\ntry: 1/0\nexcept Exception: traceback.print_exc()\nprint('x', file=__import__('sys').stderr); raise SystemExit(5)",
                "ExitCode 5: x",
            ),
            ("raise SystemExit(137)", "ExitCode 137: nothing on standard error"),
            ("raise SystemExit('there is no data')", "ExitCode 1: there is no data"),
            ("import os; os.kill(os.getpid(), 9)", "ExitCode 137: terminated by SIGKILL: probably out of memory"),
            ("import argparse; argparse.ArgumentParser(prog='x').parse_args(['-q'])", "ExitCode 2: x: error: unrec"),
            ("import sys; sys.stderr.write('\\r10%\\r20%\\n'); sys.exit(3)", "ExitCode 3: 20%"),
        ],
        every=7,
    ),
)
def test_every_way_to_fail_is_reported(script: str, failure: str, container: Start) -> None:
    made = container(script)
    made.run()
    assert made.failure.startswith(failure)


def test_a_toolkit_that_is_stopped_stops_the_script(container: Start, tmp_path: Path) -> None:
    """The toolkit dies of a SIGTERM without a word to anyone; the script still gets to save its work."""
    made = container(
        "import os, pathlib, signal, sys, time\n"
        "def save(*_): pathlib.Path(os.environ['SAVED']).write_text('saved'); sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, save)\n"
        "pathlib.Path(os.environ['READY']).write_text(str(os.getpid()))\n" + PAUSE
    )
    ready, saved = tmp_path / "ready", tmp_path / "saved"
    with made.start(READY=str(ready), SAVED=str(saved)) as running:
        until(lambda: ready.exists() and ready.read_text() != "")
        running.terminate()
        script = int(ready.read_text())
        until(lambda: not psutil.pid_exists(script))
        assert saved.read_text() == "saved"
        running.communicate(timeout=10)


def test_a_script_does_not_outlive_the_program(container: Start, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    made = container(
        "import os, pathlib, time\npathlib.Path(os.environ['READY']).write_text(str(os.getpid()))\ntime.sleep(60)\n"
    )
    with made.start(READY=str(ready)) as running:
        until(lambda: ready.exists() and ready.read_text() != "")
        script = psutil.Process(int(ready.read_text()))
        parent = script.parent()
        assert parent is not None
        assert "accel_entry.py" in parent.cmdline()[-1]
        parent.kill()
        until(lambda: not script.is_running() or script.status() == psutil.STATUS_ZOMBIE)
        running.communicate(timeout=10)
    assert running.returncode == 1


def test_without_the_program_the_toolkit_would_lose_the_words(container: Start, tmp_path: Path) -> None:
    """Why the bundle has a program at all: this is what the toolkit does with the script alone."""
    made = container(TELLS, "data", "--fp16")
    made.request.body["HyperParameters"]["sagemaker_program"] = json.dumps("train.py")
    made.run(SEEN=str(tmp_path / "seen"))
    assert json.loads((tmp_path / "seen").read_text())["argv"] == ["--fp16", "True"]


@pytest.mark.exhaustive
def test_what_was_uploaded_is_what_runs(
    container: Start, amazon: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, text in amazon.items():
        monkeypatch.setenv(name, text)
    made = container(TELLS, "--lr", "1e-4")
    made.request = made.request.filled(ACCOUNT, made.request.role)
    submit(made.request)
    made.uploaded = True
    status, output = made.run(
        SEEN=str(tmp_path / "seen"), S3_ENDPOINT_URL=amazon["AWS_ENDPOINT_URL"], **keys(tmp_path)
    )
    assert status == 0, output
    assert json.loads((tmp_path / "seen").read_text())["argv"] == ["--lr", "1e-4"]


REDUCES = """
import os, sys, torch, torch.distributed as dist
dist.init_process_group("gloo")
total = torch.tensor([float(dist.get_rank() + 1)])
dist.all_reduce(total)
with open(os.environ["SEEN"] + os.environ["RANK"], "w") as file:
    file.write(f"{total.item():.0f} of {dist.get_world_size()} {os.environ['ACCELERATE_USE_CPU']} {sys.argv[1:]}")
dist.destroy_process_group()
"""


@pytest.fixture
def hosts(toolkit: Path, settings: Resolve, tmp_path: Path) -> Iterator[Callable[..., list[Container]]]:
    """Make and start the hosts of a job; what is still running at the end is killed."""
    running: list[subprocess.Popen[str]] = []

    def start(script: str, *args: str, count: int = 1, config: str = CONFIG, **variables: str) -> list[Container]:
        folder = tmp_path / "source"
        folder.mkdir()
        (folder / "train.py").write_text(script)
        request = job(settings("--num_machines", str(count), file=config), str(folder / "train.py"), args)
        names = tuple(f"127.0.0.{number}" for number in range(1, count + 1))
        made = [Container(tmp_path / name, toolkit, request, names) for name in names]
        seen = {"SEEN": str(tmp_path / "seen"), **variables}
        running.extend(one.start(name, **seen) for one, name in zip(made, names, strict=True))
        for one in running:
            one.output, _nothing = one.communicate(timeout=150)  # pyright: ignore[reportAttributeAccessIssue]
        return made

    yield start
    for one in running:
        if one.poll() is None:
            os.killpg(one.pid, signal.SIGKILL)


@pytest.mark.exhaustive
def test_torchs_agent_joins_the_ranks_of_two_hosts(hosts: Callable[..., list[Container]], tmp_path: Path) -> None:
    made = hosts(REDUCES, "--fp16", "data", count=2, config=CONFIG + "nproc_per_node: 1\n")
    for rank in range(2):
        assert (tmp_path / f"seen{rank}").read_text() == "3 of 2 True ['--fp16', 'data']"
    assert all((one.base / "output" / "success").exists() for one in made)


@pytest.mark.exhaustive
def test_the_first_rank_that_fails_gives_status_and_reason(hosts: Callable[..., list[Container]]) -> None:
    script = "import os, sys, time\nif os.environ['RANK'] == '1':\n    sys.exit(7)\ntime.sleep(60)\n"
    (made,) = hosts(script, config=CONFIG + "nproc_per_node: 2\n")
    assert made.failure == "ExitCode 7: rank 1: nothing on standard error"


@pytest.mark.exhaustive
def test_the_toolkits_own_torchrun_starts_the_script(hosts: Callable[..., list[Container]], tmp_path: Path) -> None:
    further = "additional_args: {distribution: {torch_distributed: {enabled: true}}}\nuse_cpu: true\n"
    (made,) = hosts(REDUCES, "--fp16", "data", config=CONFIG + further, **PYTORCH)
    assert (tmp_path / "seen0").read_text() == "1 of 1 True ['--fp16', 'data']"
    assert (made.base / "output" / "success").exists()


TRAIN = """\
import time, types
import sagemaker_training.mpi as mpi
mpi._start_sshd_daemon = lambda: None
mpi.time = types.SimpleNamespace(time=time.time, sleep=lambda _seconds: None)
from sagemaker_training.cli.train import main
main()
"""
MPIRUN = """\
import os, sys
words = ["-" + word if word in ("-bind-to", "-map-by") else word for word in sys.argv[1:]]
os.execv({!r}, ["mpirun", *words])
"""


@pytest.fixture
def mpi(tmp_path: Path) -> Path:
    """The toolkit with the real mpirun of an Open MPI that is newer than it knows, so that two flags get a second dash.

    What the toolkit starts for other hosts, an ssh daemon, is left out, and so are its pauses.
    """
    programs = environment("sagemaker-mpi")
    folder = tmp_path / "programs"
    folder.mkdir()
    for name, text in (("train", TRAIN), ("mpirun", MPIRUN.format(str(programs / "mpirun")))):
        (folder / name).write_text(f"#!{programs / 'python'}\n{text}")
        (folder / name).chmod(0o755)
    return folder


@pytest.mark.parametrize(("code", "status"), sampled([(7, 1), (0, 0)], every=2))
def test_the_toolkits_own_mpirun_starts_the_script(container: Start, mpi: Path, code: int, status: int) -> None:
    script = (
        "import os, sys\n"
        "rank = os.environ['OMPI_COMM_WORLD_RANK']\n"
        "with open(os.environ['SM_MODEL_DIR'] + '/' + rank, 'w') as file:\n"
        "    file.write(f\"{os.environ['ACCELERATE_MIXED_PRECISION']} {sys.argv[1:]}\")\n"
        f"sys.exit({code} if rank == '1' else 0)\n"
    )
    further = "additional_args: {distribution: {mpi: {enabled: true, processes_per_host: 2}}}\n"
    made = container(script, "--fp16", "a b", config=CONFIG + further)
    made.toolkit = mpi
    ended, output = made.run()
    assert ended == status, output
    for rank in range(2):
        assert (made.base / "model" / str(rank)).read_text() == "bf16 ['--fp16', 'a b']"
    assert code == 0 or f"\nExitCode {code}\n" in made.failure


SOURCE = Path(entry.__file__)


def test_the_program_is_of_python_3_8_and_its_library_alone() -> None:
    tree = ast.parse(SOURCE.read_text(), feature_version=(3, 8))
    imported = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    assert imported <= sys.stdlib_module_names
    origins = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert origins == {"__future__", "typing"}  # the second for type checkers alone


def python_3_8() -> Path | None:
    """A Python 3.8 that runs; what is on PATH may be a shim that leads nowhere."""
    found = [Path(folder) / "python3.8" for folder in os.environ["PATH"].split(os.pathsep)]
    found += Path.home().glob(".pyenv/versions/3.8.*/bin/python3.8")
    runs = (
        path
        for path in found
        if path.exists() and subprocess.run([path, "-c", ""], capture_output=True).returncode == 0
    )
    return next(runs, None)


def test_the_program_runs_on_python_3_8(tmp_path: Path) -> None:
    """The Python of the default image."""
    python = python_3_8()
    if python is None:
        pytest.skip("there is no Python 3.8 on PATH, nor among pyenv's")
    code = tmp_path / "code"
    code.mkdir()
    shutil.copy(SOURCE, code / bundle.ENTRY)
    (code / "train.py").write_text("import sys\nprint(sys.version_info[:2], sys.argv[1:])\nraise KeyError('x')\n")
    program = {"script": "train.py", "arguments": ["a b"], "start": "process", "processes": None, "environment": {}}
    (code / bundle.PROGRAM).write_text(json.dumps(program))
    done = subprocess.run(
        [python, code / bundle.ENTRY],
        env={**os.environ, "SM_OUTPUT_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "(3, 8) ['a b']\n"
    assert done.returncode == 1
    assert (tmp_path / "failure").read_text() == "ExitCode 1: KeyError: 'x' (train.py:3)"


def test_mpis_other_hosts_get_the_jobs_variables(tmp_path: Path) -> None:
    """The toolkit's mpirun hands on only a fixed list, and starts our program as each rank: it becomes the script."""
    shutil.copy(SOURCE, tmp_path / bundle.ENTRY)
    (tmp_path / "train.py").write_text("import os; print(os.getpid(), os.environ['A'], os.environ['B'])\n")
    program = {"script": "train.py", "arguments": [], "start": "toolkit", "environment": {"A": "job", "B": "job"}}
    (tmp_path / bundle.PROGRAM).write_text(json.dumps(program))
    words = [sys.executable, tmp_path / bundle.ENTRY]
    with subprocess.Popen(words, env={"B": "own"}, stdout=subprocess.PIPE, text=True) as running:
        output, _nothing = running.communicate(timeout=20)
    assert output == f"{running.pid} job own\n"
