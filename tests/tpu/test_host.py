"""`launch --tpu`: the plan of the one command, and what is refused before anything starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from accel_config.asking.asker import Proposals
from accel_config.asking.interview import Interview
from accel_config.asking.machine import this_machine
from accel_config.errors import AccelError
from accel_launch.planning.making import plan
from accel_launch.planning.types import Plan
from accel_tpu import host as engine
from accel_tpu import spawn
from tests.conftest import Resolve
from tests.launch.hosts import Still, host

XLA = Still(modules=("torch_xla",))


@pytest.fixture
def planned(settings: Resolve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Plan a launch on a TPU host with four chips."""
    (tmp_path / "train.py").write_text("def main(): pass\ndef _mp_fn(index): pass\n")

    def make(
        *flags: str,
        chips: int = 4,
        environ: dict[str, str] | None = None,
        xla: bool = True,
        file: str | None = None,
        script: str = "train.py",
    ) -> Plan:
        monkeypatch.setattr(engine.make, "__defaults__", (lambda: chips,))
        made = settings(*(() if file else ("--tpu",)), *flags, file=file)
        here = host(environ=environ, cwd=str(tmp_path), probe=XLA if xla else Still())
        return plan(made, here, [script, "--lr", "1"])

    return make


def test_one_command_for_all_chips(planned: Any) -> None:
    made = planned()
    (command,) = made.commands
    assert command.argv == (
        "/py",
        "-u",
        spawn.__file__,
        "all",
        "main",
        "usual",
        "file",
        "train.py",
        "--lr",
        "1",
    )
    assert made.engine == "tpu"
    assert made.supervised
    assert made.summary == "a process on each device of the TPU, XLA, precision no, engine tpu"
    assert "ACCELERATE_USE_CPU" not in command.env
    assert "RANK" not in command.env


def test_from_a_config_of_the_existing_command(planned: Any) -> None:
    made = planned(
        file="compute_environment: LOCAL_MACHINE\ndistributed_type: XLA\ndowncast_bf16: 'no'\n"
        "main_training_function: _mp_fn\nmixed_precision: bf16\nnum_processes: 8\nnum_machines: 1\n"
    )
    assert made.commands[0].argv[3:7] == ("all", "_mp_fn", "named", "file")
    assert made.commands[0].env["XLA_USE_BF16"] == "1"
    assert made.commands[0].env["ACCELERATE_MIXED_PRECISION"] == "bf16"


@pytest.mark.parametrize(
    ("flags", "env"),
    [
        ([], {}),
        (["--mixed_precision", "bf16"], {"XLA_USE_BF16": "1"}),
        (
            ["--mixed_precision", "bf16", "--downcast_bf16"],
            {"XLA_DOWNCAST_BF16": "1", "ACCELERATE_DOWNCAST_BF16": "1"},
        ),
    ],
)
def test_formats(planned: Any, flags: list[str], env: dict[str, str]) -> None:
    seen = planned(*flags).commands[0].env
    assert {name: text for name, text in seen.items() if "BF16" in name} == env


@pytest.mark.parametrize(("count", "how"), [("1", "one"), ("4", "all"), ("8", "all")])
def test_numbers_of_processes_that_torch_xla_has(planned: Any, count: str, how: str) -> None:
    assert planned("--num_processes", count).commands[0].argv[3] == how


def test_one_process_in_a_file_means_all_chips(planned: Any) -> None:
    """Both wizards write it for a TPU, and for the existing command it means all chips."""
    made = planned(file="compute_environment: LOCAL_MACHINE\ndistributed_type: XLA\nnum_processes: 1\n")
    assert made.commands[0].argv[3] == "all"
    (note,) = [note for note in made.notes if "num_processes 1" in note]
    assert "means all chips of the host" in note
    assert "give --num_processes 1 for one chip" in note
    typed = planned("--num_processes", "1", file="distributed_type: XLA\nnum_processes: 1\n")
    assert typed.commands[0].argv[3] == "one"


def test_a_number_of_processes_that_it_has_not(planned: Any) -> None:
    with pytest.raises(
        AccelError, match=r"num_processes 3 \(--num_processes\): torch_xla starts a process for each of the 4"
    ):
        planned("--num_processes", "3")
    assert any("num_processes 3" in note for note in planned("--num_processes", "3", "--dry_run").notes)


def test_settings_that_torch_xla_decides_have_no_effect(planned: Any) -> None:
    notes = planned("--nproc_per_node", "3", "--num_machines", "2").notes
    assert [note.split()[0] for note in notes if "has no effect" in note] == ["num_machines", "nproc_per_node"]


def test_spmd(planned: Any) -> None:
    assert planned("--tpu_spmd").commands[0].argv[3] == "spmd"
    made = planned(environ={"XLA_USE_SPMD": "1"})
    assert made.commands[0].argv[3] == "spmd"
    assert any("XLA_USE_SPMD is set" in note for note in made.notes)


def test_a_function_that_is_not_there(planned: Any) -> None:
    with pytest.raises(AccelError, match=r"main_training_function go \(--main_training_function\): train.py has no"):
        planned("--main_training_function", "go")


def test_no_torch_xla_says_what_to_install(planned: Any) -> None:
    with pytest.raises(
        AccelError, match=r"torch_xla isn't installed; run: uv pip install .*accel-tpu\[xla\]', and on a TPU VM"
    ):
        planned(xla=False)
    assert any("torch_xla isn't installed" in note for note in planned("--dry_run", xla=False).notes)
    assert planned("--python", "/other/python", xla=False).commands[0].argv[0] == "/other/python"


def test_no_chips(planned: Any) -> None:
    with pytest.raises(AccelError, match="this machine has no TPU chip; set PJRT_DEVICE=CPU"):
        planned(chips=0)
    assert planned(chips=0, environ={"PJRT_DEVICE": "CPU"}).summary.startswith("a process on each device of the CPU")


def test_no_python_is_refused(planned: Any) -> None:
    with pytest.raises(AccelError, match=r"no_python \(--no_python\): a TPU runs a function"):
        planned("--no_python", script="/bin/sh")


def test_chips_are_counted_on_the_bus(tmp_path: Path) -> None:
    assert engine.count_chips(str(tmp_path)) == 0
    for place, (vendor, device) in enumerate(
        [("0x1ae0", "0x0063")] * 4 + [("0x1ae0", "0x001f"), ("0x10de", "0x0063")]
    ):
        folder = tmp_path / "sys/bus/pci/devices" / f"0000:00:0{place}.0"
        folder.mkdir(parents=True)
        (folder / "vendor").write_text(vendor + "\n")
        (folder / "device").write_text(device + "\n")
    assert engine.count_chips(str(tmp_path)) == 4


def test_the_wizard_counts_chips(monkeypatch: pytest.MonkeyPatch) -> None:
    """It wrote `num_processes: 1` for a TPU host with any number of chips."""
    monkeypatch.setattr("accel_tpu.machine.count_chips", {"/": 4}.__getitem__)
    machine = this_machine()
    assert (machine.kind, machine.count, machine.bf16, machine.known) == ("TPU", 4, True, True)
    assert machine.cores >= 1
    found = Interview(Proposals(), machine).run()
    assert (found["distributed_type"], found["num_processes"]) == ("XLA", 4)
