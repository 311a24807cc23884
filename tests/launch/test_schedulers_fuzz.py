"""Variables of schedulers, recorded and then spoiled: a plan or one message, soon, whatever they hold."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest

from accel_config import CATALOGUE, AccelError, split
from accel_config.settings.readers import natural
from accel_launch import plan
from accel_launch.ranks.managers import descriptor
from accel_launch.ranks.signals import sent_to_all
from accel_launch.schedulers import READERS, settle
from tests.fuzzing import fuzz
from tests.launch import test_schedulers
from tests.launch.hosts import Still, host
from tests.launch.test_schedulers import Meeting
from tests.schedule import sampled

RECORDED = {path.stem: test_schedulers.recorded(path.stem) for path in test_schedulers.RECORDED.glob("*.env")}
OPERATORS = {
    "pet": {
        **{"PET_NNODES": "2", "PET_NPROC_PER_NODE": "4", "PET_NODE_RANK": "1", "PET_MASTER_ADDR": "job-0.job"},
        **{"PET_MASTER_PORT": "29500", "PET_RDZV_BACKEND": "c10d", "PET_MAX_RESTARTS": "3"},
    },
    "elastic": {
        **{"PET_NNODES": "1:2", "PET_NPROC_PER_NODE": "4", "PET_RDZV_BACKEND": "c10d", "HOSTNAME": "job-worker-1"},
        **{"PET_RDZV_ENDPOINT": "job-worker-0:23456", "PET_RDZV_CONF": "a=1,b=2", "PET_RDZV_ID": "x"},
    },
    "bare": {"MASTER_ADDR": "job-master-0", "MASTER_PORT": "23456", "RANK": "1", "WORLD_SIZE": "2"},
    "mvapich": {
        **{"MV2_COMM_WORLD_LOCAL_RANK": "0", "MV2_COMM_WORLD_LOCAL_SIZE": "2", "MV2_COMM_WORLD_RANK": "2"},
        **{"MV2_COMM_WORLD_SIZE": "4", "MPISPAWN_ID": "1", "MPISPAWN_NNODES": "2", "MPIRUN_ID": "77"},
        **{"MPISPAWN_HOSTLIST": "n0:2:0:1,n1:2:2:3", "USE_LINEAR_SSH": "0"},
    },
}
BASES = [*RECORDED.values(), *OPERATORS.values()]
OTHERS = ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "LOCAL_RANK", "TORCHELASTIC_RUN_ID", "PMI_FD", "MASTER_ADDR")
NAMES = sorted({*(name for base in BASES for name in base), *(name for name, _reader in READERS), *OTHERS})
HUGE = "9" * 11
VALUES = (
    *("", " ", "0", "1", "2", "-1", "1.5", "1e9", "0x10", "\u0663", "\u00b2", "nan", "x", "\n", "\x1b[31m", "a\nb=c"),
    *(HUGE, "9" * 18, "9" * 19, "9" * 5000, f"-{HUGE}", f"2(x{HUGE})", "2(x", "2(x2),", ")(", f"{HUGE}(x2)", "1(x0)"),
    *(f"n[0-{HUGE}]", f"n[{HUGE}-0]", "n[1-100000][1-100000]", "n[1-9][2-1]", "n[1-2", "n]1[", "[" * 5000, "a[1]" * 2000),
    *(f"n[{HUGE}:1-2]", "n[" + "1:" * 5000 + "1]", f"a[0-{'9' * 5000}]", "," * 3000, "n[1-2]," * 3000, "n[0-100000]"),
    *(f"n[1:2,0-1]@0,2({HUGE})", "@", f"@{HUGE}", "3.0;tcp://10.0.0.1,h:65536;tcp6://[::1]:x", f"1.0;tcp://h:{HUGE}"),
    *("prterun-h-1@1", "prterun-", "prterun-h-" + HUGE, "99999", "1:2", f"1:{HUGE}", "2:1", "a" * 100_000),
)  # fmt: skip
FLAGS = (
    *(
        ["--num_machines", "2"],
        ["--num_machines", "1"],
        ["--num_processes", "4"],
        ["--nproc_per_node", "2"],
        ["--cpu"],
    ),
    *(["--engine", "slurm"], ["--engine", "mpi"], ["--engine", "torchrun"], ["--no_scheduler"], ["--multi_gpu"]),
    *(["--slurm"], ["--main_process_ip", "h"], ["--main_process_port", "29500"], ["--tee", f"{HUGE}:3"]),
    *(["--filter_ranks", "9" * 5000], ["--gpu_ids", f"0-{HUGE}"], ["--gpu_ids", "9" * 5000]),
)
LIMIT = 5.0  # seconds on a machine that does other things too


def judge(environ: dict[str, str], flags: list[str], folder: Path, devices: int = 0) -> str:
    """Plan with these variables; return the message of a refusal."""
    start = time.process_time()
    there = host(devices, environ, cwd=str(folder), probe=Still(mpi=Meeting()) if len(environ) % 2 else Still())
    try:
        descriptor(environ)
        sent_to_all(environ)
        typed = split(CATALOGUE, [*flags, "train.py"])
        plan(settle(typed, {"HF_HOME": "/nowhere", **environ}, there.probe), there, typed.script)
    except AccelError as error:
        return str(error)
    finally:
        assert time.process_time() - start < LIMIT
    return ""


@pytest.mark.fuzz
@pytest.mark.timeout(120)
def test_whatever_a_scheduler_sets_there_is_a_plan_or_a_message(tmp_path: Path) -> None:
    (tmp_path / "train.py").touch()

    def one_round(source: random.Random) -> None:
        environ = dict(source.choice(BASES))
        if source.random() < 0.3:
            environ |= source.choice(BASES)
        for _ in range(source.randint(1, 4)):
            name = source.choice(NAMES if source.random() < 0.2 else sorted(environ))
            text = environ.get(name, "")
            spoiled = (
                source.choice(VALUES),
                text[: source.randint(0, len(text))],
                text + source.choice(VALUES),
                "".join(source.sample(text, len(text))),
                text.replace("1", source.choice(VALUES)),
            )
            environ[name] = source.choice(spoiled)
            if source.random() < 0.15:
                del environ[name]
        flags = [word for _ in range(source.randint(0, 2)) for word in source.choice(FLAGS)]
        try:
            judge(environ, flags, tmp_path, source.choice((0, 0, 8)))
        except BaseException as error:
            error.add_note(f"{flags}, { ({name: text[:200] for name, text in environ.items()}) }")
            raise

    fuzz(one_round)


@pytest.mark.parametrize("base", sampled([*RECORDED, *OPERATORS], every=6))
def test_each_variable_may_hold_anything(base: str, tmp_path: Path) -> None:
    """The same without chance: each variable of each environment with some of the bad values."""
    (tmp_path / "train.py").touch()
    recorded = {**RECORDED, **OPERATORS}[base]
    for place, name in enumerate(sorted(recorded)):
        for value in VALUES[place % 5 :: 5]:
            judge({**recorded, name: value}, [], tmp_path)


def test_a_list_of_hosts_that_no_cluster_has_is_named(tmp_path: Path) -> None:
    (tmp_path / "train.py").touch()
    message = judge({**RECORDED["sbatch-srun"], "SLURM_STEP_NODELIST": f"n[0-{HUGE}]"}, [], tmp_path)
    assert f"is 'n[0-{HUGE}]', and it has more than 100000" in message


def test_numbers_have_a_limit() -> None:
    assert [natural(text) for text in ("7", " 08 ", "9" * 18)] == [7, 8, 10**18 - 1]
    assert [natural(text) for text in ("9" * 19, "9" * 5000, "-1", "", "1.0", "x")] == [None] * 6
    assert "SLURM_JOB_ID" not in os.environ
