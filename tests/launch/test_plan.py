"""Settings and a host in, commands and environments out."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from accel_config import AccelError
from accel_config.showing.listing import table
from accel_launch import Plan, plan
from accel_launch.engines.common.wrapping import PARENT
from accel_launch.machine.devices import Device
from accel_launch.machine.host import Host
from accel_launch.planning import explain
from tests.conftest import Resolve
from tests.launch.hosts import Packages, Programs, Still, gpus, host


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "train.py").touch()
    return tmp_path


def planned(settings: Resolve, here: Path, *flags: str, on: Host | None = None, file: str | None = None) -> Plan:
    return plan(settings(*flags, file=file), (on or host()).replace(cwd=str(here)), ["train.py", "--lr", "1"])


def test_one_process_is_exec_with_no_process_group(settings: Resolve, here: Path) -> None:
    todo = planned(settings, here)
    (command,) = todo.commands
    assert (todo.engine, todo.supervised) == ("exec", False)
    assert command.argv == ("/py", "train.py", "--lr", "1")
    assert "RANK" not in command.env
    assert command.env["ACCELERATE_USE_CPU"] == "False"


@pytest.mark.parametrize("file", [None, "stall_after: 1m"])
def test_a_process_is_watched_if_that_or_what_follows_is_asked_for(
    settings: Resolve, here: Path, file: str | None
) -> None:
    assert planned(settings, here, file=file).supervised == bool(file)
    assert planned(settings, here, "--stall_action", "end", file=file).supervised
    assert not planned(settings, here, "--stall_after", "0", file=file).supervised


def test_the_user_counts_the_devices(settings: Resolve, here: Path) -> None:
    for flags, on, ranks in (
        ((), host(0), ["GPU 0", "GPU 1"]),
        (("--gpu_ids", "1"), host(0), ["GPU 1"]),
        ((), host(4), ["GPU 0", "GPU 1"]),
        ((), host(0).replace(environ={"CUDA_VISIBLE_DEVICES": "1"}), ["GPU 1"]),
    ):
        todo = planned(settings, here, "--num_devices", "2", *flags, on=on)
        assert list(todo.devices) == ranks
        noted = "num_devices 2 (--num_devices): the drivers' files list 4" in todo.notes
        assert noted == (len(on.devices) == 4)
    assert planned(settings, here, "--num_devices", "0", on=host(4)).devices == (None,)
    assert planned(settings, here, "--num_devices", "2", file="distributed_type: MULTI_XPU").devices[1] == "XPU 1"


def test_what_follows_a_standstill_needs_a_watch(settings: Resolve, here: Path) -> None:
    flags = ("--stall_action", "end")
    with pytest.raises(
        AccelError, match=r"stall_after 0 \(--stall_after\) and stall_action end \(--stall_action\): "
    ):
        planned(settings, here, *flags, "--stall_after", "0")
    (note,) = planned(settings, here, *flags, file="stall_after: 0").notes
    assert note.startswith("stall_action end (--stall_action): no effect, since stall_after 0 (")
    assert planned(settings, here, "--stall_after", "0", file="stall_action: end").notes == ()


def test_times_can_have_units(settings: Resolve, here: Path) -> None:
    times = ("--grace", "1m", "--stall_after", "2m", "--join_timeout", "3m", "--lifeline_timeout", "1.5m")
    machines = ("--num_machines", "2", "--num_processes", "2", "--main_process_ip", "10.0.0.1", "--machine_rank", "1")
    meet = ("--main_process_port", "29500", "--monitor_interval", "2s")
    todo = planned(settings, here, "--cpu", *machines, *meet, *times)
    assert todo.lifeline is not None
    assert (todo.grace, todo.watching.after, todo.lifeline.patience, todo.lifeline.timeout) == (60, 120, 180, 90)
    (agent,) = todo.commands
    assert "--monitor-interval=2.0" in agent.argv
    assert "--rdzv-conf=timeout=240" in agent.argv  # a minute later than ours


def test_one_process_under_fsdp_has_a_process_group(settings: Resolve, here: Path) -> None:
    (command,) = planned(settings, here, "--use_fsdp", on=host(1)).commands
    assert command.env["RANK"] == "0"
    assert command.env["MASTER_PORT"] == "40001"


def test_a_home_folder_in_a_path_is_kept_in_the_file_and_expanded_in_use(
    settings: Resolve, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(here))
    (here / "zero.json").write_text("{}")
    kind = "distributed_type: DEEPSPEED\npython: ~/py\ndeepspeed_config: "
    own = "{deepspeed_config_file: ~/zero.json}"
    (command,) = planned(settings, here, on=host(1), file=kind + own).commands
    assert command.argv[0] == f"{here}/py"
    assert command.env["ACCELERATE_DEEPSPEED_CONFIG_FILE"] == f"{here}/zero.json"
    disks = "{offload_param_nvme_path: ~/nvme, offload_optimizer_nvme_path: ~/nvme}"
    (command,) = planned(settings, here, on=host(1), file=kind + disks).commands
    assert [text for name, text in command.env.items() if name.endswith("_NVME_PATH")] == [f"{here}/nvme"] * 2


def test_n_processes_have_torchruns_contract(settings: Resolve, here: Path) -> None:
    todo = planned(settings, here, "--cpu", "--num_processes", "2")
    assert todo.engine == "local"
    assert [command.rank for command in todo.commands] == [0, 1]
    assert todo.commands[1].argv == ("/py", "-u", "train.py", "--lr", "1")
    first, env = (command.env for command in todo.commands)
    own = {name: text for name, text in env.items() if first[name] != text}
    assert own == {"RANK": "1", "LOCAL_RANK": "1", "ROLE_RANK": "1"}
    assert env["WORLD_SIZE"] == env["LOCAL_WORLD_SIZE"] == env["ROLE_WORLD_SIZE"] == "2"
    assert (env["MASTER_ADDR"], env["MASTER_PORT"]) == ("127.0.0.1", "40001")
    assert env["TORCHELASTIC_USE_AGENT_STORE"] == "False"
    assert env["ACCELERATE_USE_CPU"] == "True"
    assert env["OMP_NUM_THREADS"] == "4"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["-m"], ("/py", "-m", "json", "x")),
        (["--no_python"], ("json", "x")),
        (["--python", "/other"], ("/other", "json", "x")),
    ],
)
def test_what_is_executed(settings: Resolve, here: Path, flags: list[str], words: tuple[str, ...]) -> None:
    (here / "json").touch()
    on = host(probe=Still(modules=("json",), programs=("json",)), cwd=str(here))
    (here / "json").chmod(0o755)
    if flags == ["--no_python"]:
        on = on.replace(probe=Still(programs=("json",)))
        todo = plan(settings(*flags, "--dry_run"), on, ["json", "x"])
    else:
        todo = plan(settings(*flags), on, ["json", "x"])
    assert todo.commands[0].argv == words


@pytest.mark.parametrize(
    ("flags", "environ", "cores", "threads"),
    [
        ([], {}, 8, "8"),
        (["--cpu", "--num_processes", "3"], {}, 8, "2"),
        (["--cpu", "--num_processes", "9"], {}, 8, "1"),
        (["--num_cpu_threads_per_process", "5"], {"OMP_NUM_THREADS": "3"}, 8, "5"),
        ([], {"OMP_NUM_THREADS": "3"}, 8, None),
        ([], {"OMP_NUM_THREADS": "0"}, 8, "8"),
    ],
)
def test_threads(
    settings: Resolve, here: Path, flags: list[str], environ: dict[str, str], cores: int, threads: str | None
) -> None:
    todo = planned(settings, here, *flags, on=host(environ=environ, cores=cores))
    assert todo.commands[0].env.get("OMP_NUM_THREADS") == threads


@pytest.mark.parametrize(
    ("kind", "variable"),
    [("GPU", "CUDA_VISIBLE_DEVICES"), ("XPU", "ZE_AFFINITY_MASK"), ("NPU", "ASCEND_RT_VISIBLE_DEVICES")],
)
def test_gpu_ids_narrow_the_vendors_variable(settings: Resolve, here: Path, kind: str, variable: str) -> None:
    todo = planned(settings, here, "--gpu_ids", "2,1", on=host(gpus(4, kind)))
    assert {command.env[variable] for command in todo.commands} == {"2,1"}
    assert [command.device for command in todo.commands] == [f"{kind} 2", f"{kind} 1"]
    untouched = planned(settings, here, "--num_processes", "2", on=host(gpus(4, kind)))
    assert variable not in untouched.commands[0].env


SLICES = tuple(Device("GPU", f"MIG-{name}", uuid=f"MIG-{name}") for name in "ab")
OPENMPI = Still(programs=Programs(("mpirun",), version="mpirun (Open MPI) 5.0.11"))
SRUN = Still(programs=("srun",))


@pytest.mark.parametrize(
    ("flags", "on"),
    [
        ("--engine torchrun", host(SLICES)),
        ("--engine mpi", host(SLICES, probe=OPENMPI)),
        ("--engine slurm", host(SLICES, {"SLURM_JOB_ID": "4", "SLURM_JOB_NODELIST": "box"}, probe=SRUN)),
    ],
)
def test_under_other_agents_the_parent_of_a_rank_chooses_its_slice(
    settings: Resolve, here: Path, flags: str, on: Host
) -> None:
    (command,) = planned(settings, here, *flags.split(), "--rank_env", "1:A=b", on=on).commands
    words = command.argv
    assert words[words.index(PARENT) + 1 :][:4] == ("--apart", "--env", "1", "A=b")
    assert "MIG-a,MIG-b" in (
        command.env.get("CUDA_VISIBLE_DEVICES", ""),
        " ".join(words).partition("DEVICES=")[2][:11],
    )
    whole = planned(settings, here, *flags.split(), on=on.replace(devices=gpus(2))).commands[0].argv
    assert "--apart" not in whole


@pytest.mark.parametrize(
    ("flags", "on", "where"),
    [
        (
            "--engine mpi --mpirun_hostfile hosts",
            host(SLICES, probe=OPENMPI),
            "the machines of mpirun_hostfile hosts (",
        ),
        (
            "--engine slurm",
            host(SLICES, {"SLURM_JOB_ID": "4", "SLURM_JOB_NODELIST": "other"}, probe=SRUN),
            "the job's machines",
        ),
        ("--use_deepspeed --deepspeed_hostfile hosts --num_machines 2", host(SLICES), "the machines that DeepSpeed"),
    ],
)
def test_slices_of_other_machines_are_refused(
    settings: Resolve, here: Path, flags: str, on: Host, where: str
) -> None:
    (here / "hosts").write_text("box slots=2\nother slots=2\n")
    with pytest.raises(AccelError) as caught:
        planned(settings, here, *flags.split(), on=on)
    assert str(caught.value).startswith(f"GPU MIG-a is a slice (MIG), and those of {where}")


def test_a_busy_port_is_replaced_with_a_note(settings: Resolve, here: Path) -> None:
    todo = planned(
        settings,
        here,
        "--cpu",
        "--num_processes",
        "2",
        "--main_process_port",
        "29500",
        on=host(probe=Still(busy=(29500,))),
    )
    assert todo.commands[0].env["MASTER_PORT"] == "40001"
    assert "main_process_port 29500 (--main_process_port) is in use" in "".join(todo.notes)
    free = planned(settings, here, "--cpu", "--num_processes", "2", "--main_process_port", "29501")
    assert free.commands[0].env["MASTER_PORT"] == "29501"


@pytest.mark.parametrize(
    ("address", "environ", "found"),
    [
        ("10.0.0.1", {}, "attempts:0"),
        ("fd88::1", {}, "attempts:0"),
        ("node-1", {}, None),  # the agent has to ask for it
        ("10.0.0.1", {"RES_OPTIONS": "timeout:1"}, None),
    ],
)
def test_torchs_agent_asks_no_name_server_about_a_number(
    settings: Resolve, here: Path, address: str, environ: dict[str, str], found: str | None
) -> None:
    flags = ("--num_machines", "2", "--num_processes", "2", "--machine_rank", "1", "--main_process_ip", address)
    flags = (*flags, "--main_process_port", "29500")
    todo = planned(settings, here, *flags, on=host(environ=environ))
    assert todo.commands[0].env.get("RES_OPTIONS") == found


def test_a_variable_of_the_users_that_is_replaced_is_told(settings: Resolve, here: Path) -> None:
    todo = planned(settings, here, on=host(environ={"ACCELERATE_MIXED_PRECISION": "bf16"}))
    assert todo.commands[0].env["ACCELERATE_MIXED_PRECISION"] == "no"
    assert "ACCELERATE_MIXED_PRECISION=bf16 in the environment is replaced by no (built in)" in todo.notes[0]


def test_rtx_40_on_an_old_driver(settings: Resolve, here: Path) -> None:
    cards = tuple(Device("GPU", str(n), model="NVIDIA GeForce RTX 4090") for n in range(2))
    old = planned(settings, here, on=host(cards).replace(driver="550.40.06"))
    assert old.commands[0].env["NCCL_P2P_DISABLE"] == "1"
    new = planned(settings, here, on=host(cards).replace(driver="550.40.07"))
    assert "NCCL_P2P_DISABLE" not in new.commands[0].env


def test_the_flight_recorder_is_on_where_torch_writes_it(settings: Resolve, here: Path) -> None:
    cards = tuple(Device("GPU", str(n)) for n in range(2))
    packages = Packages(recorder="TORCH_FR")
    todo = planned(settings, here, on=host(cards, probe=Still(packages=packages)))
    assert todo.commands[0].env["TORCH_FR_BUFFER_SIZE"] == "2000"
    off = host(cards, probe=Still(packages=packages), environ={"TORCH_NCCL_TRACE_BUFFER_SIZE": "0"})
    assert "TORCH_FR_BUFFER_SIZE" not in planned(settings, here, on=off).commands[0].env
    assert (
        "TORCH_FR_BUFFER_SIZE" not in planned(settings, here, on=host(probe=Still(packages=packages))).commands[0].env
    )  # no GPU


def test_no_script(settings: Resolve) -> None:
    with pytest.raises(AccelError, match="there is no script to launch"):
        plan(settings(), host(), [])


@pytest.mark.parametrize(
    ("flags", "script", "message"),
    [
        ([], "nope.py", "the script nope.py doesn't exist"),
        ([], "trian.py", "Did you mean 'train.py'"),
        ([], "folder", "the script folder is a folder without a __main__.py"),
        (["-m"], "no_such_module.main", "there is no module 'no_such_module'"),
        (["--no_python"], "./train.py", "can't be executed"),
        (["--no_python"], "nope", "there is no program 'nope'"),
    ],
)
def test_a_script_that_cannot_start(
    settings: Resolve, here: Path, flags: list[str], script: str, message: str
) -> None:
    (here / "folder").mkdir()
    with pytest.raises(AccelError) as refusal:
        plan(settings(*flags), host(cwd=str(here)), [script])
    assert message in str(refusal.value)
    todo = plan(settings(*flags, "--dry_run"), host(cwd=str(here)), [script])
    assert any(message in note for note in todo.notes)


def test_a_script_that_cannot_be_read(settings: Resolve, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(here)  # a socket's path may be no longer than 107 bytes
    with socket.socket(socket.AF_UNIX) as held:
        held.bind("script.py")  # which not even root can open
        with pytest.raises(AccelError, match=r"the script script\.py can't be read: No such device"):
            plan(settings(), host(cwd=str(here)), ["script.py"])


def test_a_module_is_not_looked_for_on_another_interpreter(settings: Resolve, here: Path) -> None:
    todo = plan(settings("-m", "--python", "/other"), host(cwd=str(here)), ["not_here"])
    assert todo.commands[0].argv == ("/other", "-m", "not_here")


def test_a_module_of_the_working_folder_is_there(settings: Resolve, here: Path) -> None:
    todo = plan(settings("-m"), host(cwd=str(here), probe=Still(modules=())), ["train"])
    assert todo.commands[0].argv == ("/py", "-m", "train")
    (here / "pack").mkdir()
    assert plan(settings("-m"), host(cwd=str(here), probe=Still(modules=())), ["pack.deep.train"]).commands


def test_an_engine_that_is_not_there(settings: Resolve, here: Path) -> None:
    with pytest.raises(AccelError, match=r"there is no engine 'lokal'\. Did you mean 'local'"):
        planned(settings, here, "--engine", "lokal")


def test_the_dry_run_as_json(settings: Resolve, here: Path) -> None:
    made = settings("--cpu", "--num_processes", "2", "--aws_secret_access_key", "hunter2")
    told = json.loads(explain.as_json(plan(made, host(cwd=str(here)), ["train.py"]), made))
    assert set(told) == {"engine", "commands", "settings", "notes"}
    assert set(told["commands"][0]) == {"argv", "env", "cwd", "rank", "local_rank", "device"}
    assert told["settings"]["num_processes"] == {"value": 2, "origin": "--num_processes"}
    assert told["settings"]["aws_secret_access_key"]["value"] == "***"
    assert "hunter2" not in json.dumps(told)


def test_explain_shows_what_is_set_or_everything(settings: Resolve) -> None:
    given = settings("--cpu", "--aws_secret_access_key", "hunter2")
    first, second, last = table(given, everything=False, width=None).splitlines()
    assert first.split() == ["cpu", "true", "--cpu"]
    assert second.split() == ["aws_secret_access_key", "***", "--aws_secret_access_key"]
    assert last == f"{len(list(given)) - 2} more are built in: --explain all shows them"
    whole = table(given, everything=True, width=None).splitlines()
    assert [line.split() for line in whole[:2]] == [first.split(), second.split()]
    assert len(whole) == len(list(given))
