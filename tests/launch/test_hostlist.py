"""Compact host lists of Slurm and Open MPI."""

from __future__ import annotations

from pathlib import Path

import pytest

from accel_config import AccelError
from accel_launch.schedulers.hostlist import expand
from tests.conftest import Run


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("a[01-03,7],b2-[1-2]x,c", "a01 a02 a03 a7 b2-1x b2-2x c"),  # as scontrol show hostnames has it
        ("n", "n"),
        ("", ""),
        ("n1,n2", "n1 n2"),
        ("n[9-11]", "n9 n10 n11"),
        ("n[099-101]", "n099 n100 n101"),
        ("r[1-2]c[1-2]", "r1c1 r1c2 r2c1 r2c2"),
        ("r[1,3]-x", "r1-x r3-x"),
        ("gpu-a-[5]", "gpu-a-5"),
        ("n[1-2].site.org, m", "n1.site.org n2.site.org m"),
        ("n[1:2,1,0]", "n2 n1 n0"),  # from here on Open MPI's
        ("gpu[2:1-3,12]-x,login", "gpu01-x gpu02-x gpu03-x gpu12-x login"),
        ("[2:10].88.0.2,[1:9].0.0.1", "10.88.0.2 9.0.0.1"),
        ("r[1:1-2]c[2:1]", "r1c01 r2c01"),
    ],
)
def test_a_list_expands(text: str, hosts: str) -> None:
    assert expand(text, "SLURM_JOB_NODELIST") == hosts.split()


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("n[1-", "'n[1-'"), ("a,n[1,2", "'n[1,2'"), ("n1]", "'n1]'"), ("n[[1]]", "'n[['"), ("n[1][", "'n[1]['"),
        ("n[5-1]", "'[5-1]'"), ("n[]", "'[]'"), ("n[1,]", "'[]'"), ("n[-1]", "'[-1]'"), ("n[1-2-3]", "'[1-2-3]'"),
        ("n[a]", "'[a]'"), ("n[\u0661-\u0663]", "'[\u0661-\u0663]'"), ("n[\u00b2]", "'[\u00b2]'"), ("n[1_0]", "'[1_0]'"),
        ("n[x:1]", "'x:1'"), ("n[1:2:3]", "'1:2:3'"), ("n[300:1]", "'300:1'"), ("n" + "[1]" * 9, "'[1]'"),
        (f"n[1-{'9' * 5000}]", f"'[1-{'9' * 253}]'"),
    ],
)  # fmt: skip
def test_what_is_no_list_is_refused_by_its_variable_and_value(text: str, wrong: str) -> None:
    with pytest.raises(AccelError) as raised:
        expand(text, "SLURM_JOB_NODELIST")
    shown = text if len(text) <= 255 else text[:255] + "..."
    assert str(raised.value) == (
        f"SLURM_JOB_NODELIST is {shown!r}, and {wrong} isn't valid in a list of hosts; correct it, or ignore the "
        "scheduler: --no_scheduler"
    )


@pytest.mark.parametrize("variable", ["SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST"])
@pytest.mark.parametrize("text", ["n[1-", "n[5-1]", "n[0-99999999999]"])
def test_a_launch_says_which_variable_is_wrong(accelerate: Run, tmp_path: Path, variable: str, text: str) -> None:
    (tmp_path / "t.py").write_text("")
    step = {
        "SLURM_JOB_ID": "1", "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_NODES": "2", "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_NODEID": "0", "SLURM_PROCID": "0", "SLURM_STEP_NODELIST": "n[1-2]", "SLURM_JOB_NODELIST": "n[1-2]",
    }  # fmt: skip
    done = accelerate("launch", "--cpu", "--dry_run", "t.py", env=step | {variable: text})
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{variable} is {text!r}, and " in done.stderr
    assert accelerate("launch", "--cpu", "--no_scheduler", "--dry_run", "t.py", env=step | {variable: text}).stdout


def test_a_step_of_machines_that_are_not_named_has_no_effect(accelerate: Run, tmp_path: Path) -> None:
    """This machine isn't where the others would look for rank 0."""
    (tmp_path / "t.py").write_text("")
    step = {
        "SLURM_JOB_ID": "1", "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_NODES": "2", "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_NODEID": "1", "SLURM_PROCID": "1", "SLURMD_NODENAME": "n2",
    }  # fmt: skip
    done = accelerate("launch", "--cpu", "--dry_run", "t.py", env=step)
    assert "SLURM_STEP_NODELIST doesn't name the machines of Slurm's step: the step has no effect" in done.stdout
