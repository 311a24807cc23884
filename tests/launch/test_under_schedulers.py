"""`accelerate launch` started by real schedulers: srun and sbatch of a Slurm of two nodes, mpirun of three MPIs."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import BIN
from tests.environments import environment
from tests.launch.slurm import Slurm
from tests.schedule import sampled

SUM = (
    "import json, os, sys, torch, torch.distributed as dist\n"
    "dist.init_process_group('gloo')\n"
    "mine = torch.tensor(float(dist.get_rank() + 1))\n"
    "dist.all_reduce(mine)\n"
    "names = ('LOCAL_RANK', 'LOCAL_WORLD_SIZE', 'GROUP_RANK')\n"
    "result = [dist.get_rank(), dist.get_world_size(), mine.item(), *map(os.environ.get, names), sys.argv[1:]]\n"
    "sys.stdout.write(json.dumps(result) + '\\n')\n"
    "dist.destroy_process_group()\n"
)
WORDS = ["a b", "", "$HOME;\"'", "--lr"]
LAUNCH = (BIN / "accelerate", "launch", "--cpu")


def results(text: str) -> list[list[object]]:
    """The ranks' results, in order of rank."""
    return sorted(json.loads(line) for line in text.splitlines() if line.startswith("["))


@pytest.mark.slurm
def test_one_task_for_each_node(
    slurm: Slurm, script: Callable[[str], Path], environ: dict[str, str], tmp_path: Path
) -> None:
    pytest.importorskip("torch")
    launch = (*LAUNCH, "--nproc_per_node", "2", script(SUM), *WORDS)
    differently = ("sh", "-c", 'NCCL_ALGO=$SLURMD_NODENAME exec "$@"', "sh")
    done = slurm.salloc("srun", *differently, *launch, environ=environ, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(r"note: NCCL_ALGO: n1 on machine 0; n2 on machine 1 \(host ", done.stderr), done.stderr
    assert results(done.stdout) == [[rank, 4, 10.0, str(rank % 2), "2", str(rank // 2), WORDS] for rank in range(4)]
    assert "machine 1 of 2, MULTI_CPU, precision no, engine torchrun, by the scheduler: num_machines 2" in done.stderr
    assert "main_process_ip n1 (SLURM_STEP_NODELIST)" in done.stderr


@pytest.mark.slurm
def test_a_step_over_the_components_of_a_heterogeneous_job(
    slurm: Slurm, script: Callable[[str], Path], environ: dict[str, str], tmp_path: Path
) -> None:
    pytest.importorskip("torch")
    components = ("salloc", "-Q", "-N1", "-n1", "-w", "n1", ":", "-N1", "-n1", "-w", "n2")
    launch = (*LAUNCH, "--nproc_per_node", "2", script(SUM))
    done = slurm.run(*components, "srun", "--het-group=0-1", *launch, environ=environ, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert results(done.stdout) == [[rank, 4, 10.0, str(rank % 2), "2", str(rank // 2), []] for rank in range(4)]
    alone = slurm.run(*components, *LAUNCH, script("print('alone')\n"), environ=environ, cwd=tmp_path)
    assert (alone.returncode, alone.stdout) == (0, "alone\n"), alone.stderr
    assert "start it on each with `srun --het-group=0-1 accelerate launch`" in alone.stderr


@pytest.mark.slurm
def test_several_tasks_for_each_node(
    slurm: Slurm, script: Callable[[str], Path], environ: dict[str, str], tmp_path: Path
) -> None:
    pytest.importorskip("torch")
    launch = (*LAUNCH, script(SUM), *WORDS)
    done = slurm.salloc("srun", "-n3", "--overcommit", *launch, environ=environ, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    places = [("0", "2", "0"), ("1", "2", "0"), ("0", "1", "1")]
    assert results(done.stdout) == [[rank, 3, 6.0, *place, WORDS] for rank, place in enumerate(places)]
    assert done.stderr.count("accel: ") == 1  # rank 0 prints it for all


@pytest.mark.slurm
def test_two_steps_of_a_job_at_once_do_not_mix(
    slurm: Slurm, script: Callable[[str], Path], environ: dict[str, str], tmp_path: Path
) -> None:
    pytest.importorskip("torch")
    path = script(SUM)
    both = " & ".join(
        f"srun --overlap -N2 -n2 {BIN}/accelerate launch --cpu {path} {name} >{name} 2>{name}.err" for name in "ab"
    )
    done = slurm.salloc("sh", "-c", f"{both} & wait", environ=environ, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for name in "ab":
        own = (tmp_path / name).read_text()
        assert results(own) == [[rank, 2, 3.0, "0", "1", str(rank), [name]] for rank in range(2)], (
            tmp_path / f"{name}.err"
        ).read_text()


@pytest.mark.slurm
def test_no_scheduler_makes_a_run_of_each_task(
    slurm: Slurm, script: Callable[[str], Path], environ: dict[str, str], tmp_path: Path
) -> None:
    text = "f\"{os.environ.get('WORLD_SIZE')} {os.environ['SLURM_PROCID']}\\n\""
    path = script(f"import os, sys\nsys.stdout.write({text})\n")
    done = slurm.salloc("srun", *LAUNCH, "--no_scheduler", path, environ=environ, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == ["None 0", "None 1"]


@pytest.mark.slurm
def test_our_own_step_is_not_read_again(
    slurm: Slurm, script: Callable[[str], Path], environ: dict[str, str], tmp_path: Path
) -> None:
    path = script("import os, sys\nsys.stdout.write(f\"{os.environ['OMP_NUM_THREADS']} {os.environ['RANK']}\\n\")\n")
    inner = script(
        f"import os\nos.execv('{BIN}/accelerate', ['accelerate', 'launch', '--cpu', "
        f"'--num_cpu_threads_per_process', '3', '{path}'])\n"
    )
    flags = ("--engine", "slurm", "--num_machines", "2", "--num_processes", "4")
    done = slurm.salloc(*LAUNCH, *flags, inner, environ=environ, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == [f"3 {rank}" for rank in range(4)]
    assert (
        "this runs inside another launch (LOCAL_RANK), so variables have no effect: SLURM_JOB_ID, RANK, MASTER_ADDR"
        in done.stderr
    )


def batch(slurm: Slurm, text: str, environ: dict[str, str], cwd: Path) -> str:
    """Submit a batch script, wait for its end, and return what it printed."""
    (cwd / "job.sh").write_text(text)
    done = slurm.run("sbatch", "--wait", "--parsable", "--output=out", "job.sh", environ=environ, cwd=cwd)
    assert done.returncode == 0, (done.stderr, (cwd / "out").read_text())
    return (cwd / "out").read_text()


@pytest.mark.slurm
def test_a_batch_script_without_srun_is_one_process(
    slurm: Slurm, script: Callable[[str], Path], environ: dict[str, str], tmp_path: Path
) -> None:
    path = script("import os\nprint('alone', os.environ.get('WORLD_SIZE'))\n")
    text = f"#!/bin/bash\n#SBATCH --nodes=2\n{BIN}/accelerate launch --cpu {path}\n"
    out = batch(slurm, text, environ, tmp_path)
    assert "alone None" in out
    assert "this is one process on one machine, but the job has 2 (SLURM_JOB_NUM_NODES: n[1-2]): start it" in out


@pytest.mark.slurm
def test_a_job_submitted_from_a_step_is_not_that_step(
    slurm: Slurm, script: Callable[[str], Path], environ: dict[str, str], tmp_path: Path
) -> None:
    path = script("import os\nprint('alone', os.environ.get('WORLD_SIZE'))\n")
    (tmp_path / "job.sh").write_text(f"#!/bin/bash\n#SBATCH --nodes=1\n{BIN}/accelerate launch --cpu {path}\n")
    submit = 'if [ "$SLURM_PROCID" = 0 ]; then sbatch --wait --output=out job.sh; fi'
    done = slurm.salloc("srun", "sh", "-c", submit, environ=environ, cwd=tmp_path)
    assert done.returncode == 0, (done.stderr, (tmp_path / "out").read_text())
    assert "alone None" in (tmp_path / "out").read_text()


@pytest.mark.slurm
def test_the_printed_batch_script_runs_the_launch(
    slurm: Slurm, script: Callable[[str], Path], environ: dict[str, str], tmp_path: Path
) -> None:
    pytest.importorskip("torch")
    flags = ("--slurm", "--num_machines", "2", "--nproc_per_node", "2", "--job_time", "5:00")
    printed = subprocess.run(
        [*map(str, LAUNCH), *flags, script(SUM), *WORDS], env=environ, cwd=tmp_path, capture_output=True, text=True
    )
    assert printed.returncode == 0, printed.stderr
    out = batch(slurm, printed.stdout, environ, tmp_path)
    assert "machine 1 of 2" in out
    assert "have no secret" not in out  # the script has made one
    assert results(out) == [[rank, 4, 10.0, str(rank % 2), "2", str(rank // 2), WORDS] for rank in range(4)]


# Saves when the signal comes, and ends with a status other than 0, because there is more to do.
SAVING = """
import os, pathlib, signal, sys, time
print("run", os.environ["RANK"], os.environ.get("SLURM_RESTART_COUNT", "0"), flush=True)
if os.environ.get("SLURM_RESTART_COUNT"):
    sys.exit()
signals = []
signal.signal(signal.SIGUSR1, lambda *_: signals.append(1))
pathlib.Path(f"ready{os.environ['RANK']}").touch()
while not signals:
    time.sleep(0.1)
time.sleep(3)
print("saved", os.environ["RANK"], "signals", len(signals), flush=True)
sys.exit(75)
"""


@pytest.mark.slurm
def test_the_notice_reaches_every_rank_and_the_job_is_queued_again(
    slurm: Slurm, script: Callable[[str], Path], environ: dict[str, str], tmp_path: Path
) -> None:
    pytest.importorskip("torch")
    flags = ("--slurm", "--submit", "--num_machines", "2", "--job_requeue", "--job_options", "output=out")
    done = slurm.run(*LAUNCH, *flags, script(SAVING), environ=environ, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (job,) = re.findall(r"Submitted batch job (\d+)", done.stdout)

    def until(true: Callable[[], bool]) -> None:
        end = time.monotonic() + 90
        while not true():
            assert time.monotonic() < end, (tmp_path / "out").read_text() + slurm.state(job, environ)
            time.sleep(0.2)

    until(lambda: all((tmp_path / f"ready{rank}").exists() for rank in (0, 1)))
    # As Slurm does before the time limit, which must be a minute at least.
    slurm.run("scancel", "--batch", "--signal=USR1", job, environ=environ, cwd=tmp_path)
    until(lambda: all(sign in slurm.state(job, environ) for sign in ("JobState=PENDING", "Restarts=1")))
    until(lambda: slurm.run("sinfo", "-h", "-o", "%T", environ=environ, cwd=tmp_path).stdout.split() == ["idle"])
    out = tmp_path / "out"
    # Each rank gets it once, although Slurm signals every process of a step; torch's agent would die of it.
    assert sorted(re.findall("saved.*", out.read_text())) == ["saved 0 signals 1", "saved 1 signals 1"]
    assert "accel: the run asks to be queued again (exit status 75" in out.read_text()
    assert "failed first" not in out.read_text()
    # Slurm delays a requeued job for two minutes, and its nodes refuse one that starts at once.
    slurm.run("scontrol", "update", f"jobid={job}", "starttime=now+5", environ=environ, cwd=tmp_path)
    until(lambda: "JobState=COMPLETED" in slurm.state(job, environ))
    assert sorted(re.findall(r"run \d \d", out.read_text())) == ["run 0 0", "run 0 1", "run 1 0", "run 1 1"]


# mpirun.


@pytest.mark.parametrize("kind", sampled(["mpich", "openmpi", "impi"], every=3))
def test_under_a_real_mpirun(
    script: Callable[[str], Path], environ: dict[str, str], tmp_path: Path, kind: str
) -> None:
    pytest.importorskip("torch")
    options = ("--allow-run-as-root", "--oversubscribe") if kind == "openmpi" else ()
    folder = environment(kind)
    words = [folder / "mpirun", *options, "-n", "2", *LAUNCH, script(SUM), *WORDS]
    env = {**environ, "PATH": f"{folder}:{environ['PATH']}"}
    done = subprocess.run(list(map(str, words)), env=env, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert results(done.stdout) == [[rank, 2, 3.0, str(rank), "2", "0", WORDS] for rank in range(2)]
    assert "accel: rank 0 of 2 on CPU, MULTI_CPU, precision no, engine exec, by the scheduler: " in done.stderr
    assert done.stderr.count("accel: ") == 1


@pytest.mark.parametrize("kind", ["openmpi", "mpich", "impi"])
def test_a_rank_that_fails_ends_the_others_of_an_mpirun(
    script: Callable[[str], Path], environ: dict[str, str], tmp_path: Path, kind: str
) -> None:
    options = ("--allow-run-as-root", "--oversubscribe") if kind == "openmpi" else ()
    folder = environment(kind)
    path = script("import os, sys, time\nif os.environ['RANK'] == '1':\n    sys.exit(7)\ntime.sleep(60)\n")
    env = {**environ, "PATH": f"{folder}:{environ['PATH']}"}
    words = [folder / "mpirun", *options, "-n", "2", *LAUNCH, path]
    done = subprocess.run(list(map(str, words)), env=env, cwd=tmp_path, capture_output=True, text=True, timeout=40)
    assert done.returncode == 7, done.stderr
