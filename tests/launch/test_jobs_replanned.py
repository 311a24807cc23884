"""A printed job is the launch: planned again with what its scheduler gives it, each machine does the same."""

from __future__ import annotations

import itertools
import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from accel_config import CATALOGUE, AccelError, split
from accel_launch import jobs, plan
from accel_launch.machine.host import Host
from accel_launch.planning.findings import Findings
from accel_launch.planning.layout import Layout, lay_out
from accel_launch.schedulers import settle
from tests.launch import hosts
from tests.launch.test_jobs import expanded
from tests.schedule import sampled

LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the one in C takes a tenth of the time
ENVIRONMENTS = Path(__file__).parent / "environments"
PROGRAMS = {"accelerate launch": ["-m", "accel_cli", "launch"], "accel-launch": ["-m", "accel_launch"]}
MODES = {
    "plain": ((), {}),
    "cpu": (("--cpu",), {"use_cpu": True}),
    "gpus": (("--multi_gpu",), {"distributed_type": "MULTI_GPU"}),
    "fsdp": (("--use_fsdp",), {"distributed_type": "FSDP"}),
    "no": (("--distributed_type", "NO"), {"distributed_type": "NO"}),
}
COUNTS: tuple[dict[str, int], ...] = ({}, {"num_processes": 8}, {"num_processes": 4}, {"nproc_per_node": 2})


def slurms(machines: int, rank: int) -> dict[str, str]:
    """What srun sets for one task on each machine of a batch job, as recorded, for this many machines."""
    lines = (ENVIRONMENTS / "sbatch-srun.env").read_text().splitlines()
    found = dict(line.split("=", 1) for line in lines)
    hosts_ = f"n[1-{machines}]" if machines > 1 else "n1"
    each = f"1(x{machines})" if machines > 1 else "1"
    for name in found:
        if name.endswith("NODELIST"):
            found[name] = hosts_
        elif name.endswith("TASKS_PER_NODE") and name != "SLURM_NTASKS_PER_NODE":
            found[name] = each
        elif name in ("SLURM_NNODES", "SLURM_NPROCS", "SLURM_NTASKS") or name.endswith(("_NUM_NODES", "_NUM_TASKS")):
            found[name] = str(machines)
        elif name in ("SLURM_NODEID", "SLURM_PROCID", "SLURM_GTIDS"):
            found[name] = str(rank)
    return found


def printed(
    flags: Sequence[str], environ: Mapping[str, str], program: str, capsys: pytest.CaptureFixture[str]
) -> str:
    """Return the job that a machine without devices prints."""
    typed = split(CATALOGUE, [*flags, "train.py", "--lr", "1"])
    host = machine(0, environ)
    jobs.main(settle(typed, host.environ, host.probe), host, typed, program)
    return capsys.readouterr().out


def machine(gpus: int, environ: Mapping[str, str]) -> Host:
    return hosts.host(gpus, dict(environ), probe=hosts.Still(), cwd=str(FOLDER))


def laid_out(words: Sequence[str], environ: Mapping[str, str], gpus: int) -> Layout:
    """Plan a launch on a machine with these GPUs, and return its layout."""
    host = machine(gpus, environ)
    typed = split(CATALOGUE, words)
    settings = settle(typed, environ, host.probe)
    plan(settings, host, typed.script)
    assert typed.script == ("train.py", "--lr", "1")
    return lay_out(settings, host, Findings(lenient=False))


def on_slurm(text: str, exported: Mapping[str, str], program: str) -> Iterator[tuple[list[str], dict[str, str], int]]:
    """Yield words, environment and GPUs of each machine."""
    asked = dict(line.split("=", 1) for line in re.findall(r"^#SBATCH --(\S+)$", text, re.MULTILINE) if "=" in line)
    (line,) = re.findall(r"^    (.*) &$", text, re.MULTILINE)
    words = launcher(shlex.split(line), "/py", program)
    environ = dict(exported)  # srun --export=ALL
    if exported:  # then the script changes some
        lines = f"{text.partition('# Shortly')[0]}env -0"
        done = subprocess.run(["bash"], input=lines, env=environ, capture_output=True, text=True, check=True)
        environ = dict(one.split("=", 1) for one in done.stdout.split("\0") if one)
    machines = int(asked["nodes"])
    for rank in range(machines):
        yield words, environ | slurms(machines, rank), int(asked.get("gpus-per-node", 0))


OPERATORS = ("", "operator", "bare operator")


def on_kubernetes(text: str, program: str) -> Iterator[tuple[list[str], dict[str, str], int]]:
    (manifest,) = [part for part in yaml.load_all(text, LOADER) if part["kind"] == "Job"]
    (container,) = manifest["spec"]["template"]["spec"]["containers"]
    gpus = int(container["resources"].get("limits", {}).get("nvidia.com/gpu", 0))
    machines = manifest["spec"]["completions"]
    for rank, operator in itertools.product(range(machines), OPERATORS):
        own = [one for one in container["env"] if "secretKeyRef" not in one.get("valueFrom", {})]
        environ = {one["name"]: one.get("value", str(rank)) for one in own}
        environ = {name: expanded(value, {}) for name, value in environ.items()}
        if operator == "operator":  # the same pods, if an operator starts them
            environ |= {"PET_NNODES": str(machines), "PET_NODE_RANK": str(rank)}
            environ |= {"PET_MASTER_ADDR": "train-0.train", "PET_MASTER_PORT": "29500", "PET_NPROC_PER_NODE": "auto"}
        elif operator == "bare operator":
            environ |= {"WORLD_SIZE": str(machines), "RANK": str(rank)}
            environ |= {"MASTER_ADDR": "train-0.train", "MASTER_PORT": "29500"}
        environ["JOB_COMPLETION_INDEX"] = str(rank)
        words = [expanded(word, environ) for word in container["command"]]
        yield launcher(words, "python3", program), environ, gpus


def launcher(words: list[str], python: str, program: str) -> list[str]:
    """Return the words after the launcher, which is the one that printed them."""
    begin = [python, "-P", *PROGRAMS[program]]
    assert words[: len(begin)] == begin
    return words[len(begin) :]


FOLDER = Path()


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "train.py").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(globals(), "FOLDER", tmp_path)


GIVEN = ["flags", "file of one machine", "file of the machines", "file of eight", "variables"]


@pytest.mark.parametrize("step", [61, pytest.param(7, marks=[pytest.mark.exhaustive, pytest.mark.timeout(600)])])
@pytest.mark.parametrize("machines", [1, 2, 4])
@pytest.mark.parametrize("given", sampled(GIVEN, every=2))
@pytest.mark.parametrize("scheduler", ["slurm", "kubernetes"])
def test_each_machine_of_a_job_does_what_it_would_do_without(
    scheduler: str, given: str, machines: int, step: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    agreed, ways = 0, 1 if scheduler == "slurm" else len(OPERATORS)
    every = list(itertools.product(MODES.items(), COUNTS, (None, 8), (None, "torchrun"), (None, "0,1")))
    for (mode, (switches, keys)), counts, gpus, engine, ids in every[machines % step :: step]:
        filed = {"num_machines": {"file of eight": 8, "file of the machines": machines}.get(given, 1)}
        filed |= (
            {"machine_rank": 0, "main_process_ip": "10.1.1.1", "main_process_port": 29400} if given[-1] == "t" else {}
        )
        environ: dict[str, str] = {}
        flags = ["--num_machines", str(machines)]
        if given == "flags":
            flags += [*switches, *(word for name, number in counts.items() for word in (f"--{name}", str(number)))]
        elif given == "variables":
            environ = {f"ACCELERATE_LAUNCH_{name.upper()}": str(number) for name, number in counts.items()}
            environ |= {"ACCELERATE_LAUNCH_NUM_MACHINES": str(machines), "ACCELERATE_LAUNCH_MACHINE_RANK": "0"}
            environ |= {"ACCELERATE_LAUNCH_ROLE": "it's $(HOME)\n$x"}
            flags = list(switches)
        else:
            (tmp_path / "c.yaml").write_text(yaml.safe_dump({**keys, **counts, **filed}))
            flags += ["--config_file", "c.yaml"]
        flags += [word for name, one in (("engine", engine), ("gpu_ids", ids)) if one for word in (f"--{name}", one)]
        asks = [
            f"--{scheduler}",
            *(("--job_gpus", str(gpus)) if gpus else ()),
        ]
        program = "accel-launch" if engine else "accelerate launch"
        what = (mode, counts, gpus, engine, ids)
        try:
            text = printed([*asks, *flags], environ, program, capsys)
        except AccelError as error:
            refused = " ".join(map(str, error.args))
            wrong = by_hand(flags, environ, machines, 0, gpus or 8)
            assert isinstance(wrong, AccelError), (what, refused)
            continue
        every_machine = on_slurm(text, environ, program) if scheduler == "slurm" else on_kubernetes(text, program)
        hand: Layout | AccelError | None = None
        for place, (words, variables, given_gpus) in enumerate(every_machine):
            known = "--cpu" in switches or given_gpus or mode == "no"
            there = given_gpus or (8 if not known else 0)  # a cluster that gives whole machines
            rank, way = divmod(place, ways)
            if way == 0:
                hand = by_hand(flags, environ, machines, rank, there)
            assert isinstance(hand, Layout), (what, hand)
            job = laid_out(words, variables, there)
            assert job == hand, (what, words)
            assert (job.machines, job.rank) == (machines, rank)
            assert not given_gpus or job.cpu or gpus or ids or given_gpus == job.local, what
            agreed += 1
    assert agreed > 40 // step * machines * ways


def by_hand(
    flags: Sequence[str], environ: Mapping[str, str], machines: int, rank: int, gpus: int
) -> Layout | AccelError:
    """Return the layout of the same launch, typed on each machine; or why it is refused."""
    place = ["--machine_rank", str(rank)]
    if machines > 1:
        place += ["--main_process_ip", "train-0.train", "--main_process_port", "29500"]
    try:
        return laid_out([*flags, *place, "train.py", "--lr", "1"], environ, gpus)
    except AccelError as error:
        return error


@pytest.mark.parametrize("form", ["--slurm", "--kubernetes"])
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--engine", "exec", "--num_processes", "2"), "starts one process, but there are 2"),
        (("--engine", "local", "--num_machines", "2", "--num_processes", "2"), "starts ranks on one machine"),
        (
            ("--num_machines", "2", "--num_processes", "8", "--nproc_per_node", "2"),
            "which makes 4; leave one of them",
        ),
        (("--num_processes", "4", "--job_gpus", "2"), "job_gpus 2 (--job_gpus): each machine runs 4 processes"),
        (("--num_machines", "2", "--multi_gpu", "--job_gpus", "0", "--nproc_per_node", "2"), "each needs a GPU"),
    ],
)
def test_what_the_machines_would_refuse_is_refused_now(
    form: str, flags: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(AccelError) as caught:
        printed([form, *flags], {}, "accelerate launch", capsys)
    assert message in str(caught.value)


def test_no_scheduler_would_make_each_machine_a_run_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--no_scheduler", "--num_processes", "1"]
    assert "train.py" in printed(["--slurm", *flags], {}, "accelerate launch", capsys)
    with pytest.raises(AccelError, match="leave no_scheduler out"):
        printed(["--slurm", "--num_machines", "2", "--no_scheduler"], {}, "accelerate launch", capsys)
