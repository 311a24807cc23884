"""The wizard on a real terminal: every kind of key, every branch, and nothing written before the end."""

from __future__ import annotations

import json
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pexpect  # pyright: ignore[reportMissingTypeStubs]
import pytest
import yaml

from accel_config import CATALOGUE
from accel_config.machine import Machine
from tests.conftest import BIN

from .answers import MACHINES, walked
from .answers import Path as Answers

DOWN, ENTER, END_OF_INPUT, INTERRUPT, WIPE = "\x1b[B", "\r", "\x04", "\x03", "\x15"


class Terminal:
    """The wizard on a pty, and a person who types."""

    def __init__(self, environ: dict[str, str], *words: str, program: tuple[str, ...] = ()) -> None:
        command = program or (str(BIN / "accelerate"), "config", *words)
        self.child: Any = pexpect.spawn(
            command[0],
            list(command[1:]),
            env={**environ, "TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1"},
            encoding="utf-8",
            dimensions=(60, 200),
            timeout=30,
        )
        self.child.delaybeforesend = None
        self.seen = StringIO()
        """All that was on the screen."""
        self.child.logfile_read = self.seen

    def answer(self, question: str, keys: str) -> None:
        self.child.expect_exact(question)
        # The line is drawn once as a question before it takes keys; what is typed earlier is taken all the same.
        self.child.send(keys)

    def end(self) -> int:
        self.child.expect(pexpect.EOF)  # pyright: ignore[reportUnknownMemberType]
        self.child.close()
        return self.child.exitstatus


def test_a_walk_by_hand(environ: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "new" / "c.yaml"
    wizard = Terminal(environ, "--config_file", str(path))
    wizard.answer("In which compute environment", ENTER)
    wizard.answer("Which type of machine", DOWN + ENTER)
    wizard.answer("How many different machines", WIPE + "0" + ENTER)
    wizard.answer("must be a whole number or MIN:MAX from 1 to 100000", WIPE + "2" + ENTER)
    wizard.answer("How many processes", WIPE + "3" + ENTER)
    wizard.answer("can't share them evenly", WIPE + "4" + ENTER)
    wizard.answer("What is the rank", DOWN + ENTER)
    wizard.answer("IP address", ENTER)
    wizard.answer("an answer is needed here", "Head.Node" + ENTER)
    wizard.answer("What is the port", ENTER)
    wizard.answer("same local network", "n")
    wizard.answer("rendezvous backend", WIPE + "c10d" + ENTER)
    wizard.answer("mpirun", ENTER)
    wizard.answer("mixed precision", DOWN + DOWN + ENTER)
    wizard.answer("torch dynamo", "y")
    wizard.answer("Which dynamo backend", ENTER)
    wizard.answer("customize", "n")
    assert not path.exists()
    wizard.answer("Should distributed operations", "y")
    wizard.child.expect_exact(f"Launch with it: accelerate launch --config_file {path} SCRIPT")
    assert wizard.end() == 0
    found = yaml.safe_load(path.read_text())
    wanted = {
        "distributed_type": "MULTI_CPU",
        "num_machines": 2,
        "num_processes": 4,
        "machine_rank": 1,
        "main_process_ip": "Head.Node",
        "main_process_port": 29500,
        "same_network": False,
        "rdzv_backend": "c10d",
        "mixed_precision": "bf16",
        "dynamo_config": {"dynamo_backend": "inductor"},
        "debug": True,
        "use_cpu": True,
    }
    assert {key: found[key] for key in wanted} == wanted


@pytest.mark.parametrize("key", [INTERRUPT, END_OF_INPUT], ids=["Ctrl-C", "Ctrl-D"])
@pytest.mark.parametrize("there", [False, True])
def test_giving_up_leaves_everything_as_it_was(
    environ: dict[str, str], tmp_path: Path, key: str, there: bool
) -> None:
    path = tmp_path / "c.yaml"
    if there:
        path.write_text("num_processes: 7\n")
    wizard = Terminal(environ, "--config_file", str(path))
    if there:
        wizard.answer("exists. Replace it", "y")
    wizard.answer("In which compute environment", ENTER)
    wizard.answer("Which type of machine", DOWN + ENTER)
    wizard.answer("How many different machines", WIPE + key)
    wizard.child.expect_exact("nothing was written")
    assert wizard.end() == 130
    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [("c.yaml", "num_processes: 7\n")] * there


def test_a_file_that_is_there_is_replaced_only_on_a_yes(environ: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("num_processes: 7\n")
    wizard = Terminal(environ, "--config_file", str(path))
    wizard.answer("exists. Replace it", ENTER)
    wizard.child.expect_exact("is left as it is")
    assert wizard.end() == 1
    assert path.read_text() == "num_processes: 7\n"


def test_a_file_that_cant_be_read_is_told_and_replaced(environ: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    path.write_text('{"num_processes": 7,')
    wizard = Terminal(environ, "--config_file", str(path))
    wizard.answer("exists. Replace it", "y")
    wizard.child.expect_exact("c.json:1: this is no JSON")
    wizard.child.expect_exact("so nothing of it is proposed")
    wizard.answer("In which compute environment", ENTER)
    wizard.answer("Which type of machine", ENTER)
    for question in ("on CPU only", "mixed precision", "torch dynamo"):
        wizard.answer(question, ENTER)
    assert wizard.end() == 0
    assert json.loads(path.read_text())["num_processes"] == 1


# One process asks for every path, since starting one takes longer than answering.
SERIES = """
import sys
from accel_config.interview import Interview
from accel_config.machine import Machine
from accel_config.prompts import Terminal
from accel_config.spelling import document
kind, count, cores, runs = sys.argv[1:5]
for run in range(int(runs)):
    print(f"run {run} begins", flush=True)
    content = Interview(Terminal(), Machine(kind, int(count), int(cores)), makers=("iam_role_name",)).run()
    open(f"{sys.argv[5]}/{run}.yaml", "w").write(document(content, "c.yaml"))
    print(f"run {run} ends", flush=True)
"""


class Typist(Answers):
    """A path that keeps the keys that give its answers on a terminal."""

    def __init__(self, places: list[int], machine: Machine) -> None:
        super().__init__(places, machine)
        self.typed: list[tuple[str, str]] = []

    def choose(self, question: str, options: Any, default: int, /) -> int:
        place = super().choose(question, options, default)
        self.typed.append((question, DOWN * ((place - default) % len(options)) + ENTER))
        return place

    def several(self, question: str, options: Any, default: Any, /) -> list[int]:
        places = super().several(question, options, default)
        keys = DOWN.join(" " if (place in places) != (place in default) else "" for place in range(len(options)))
        self.typed.append((question, keys + ENTER))
        return places

    def confirm(self, question: str, default: bool, /) -> bool:
        yes = super().confirm(question, default)
        self.typed.append((question, "y" if yes else "n"))
        return yes

    def text(self, question: str, default: str, check: Any, /, *, hidden: bool) -> str:
        text = super().text(question, default, check, hidden=hidden)
        self.typed.append((question, (WIPE + text if default else text) + ENTER))
        return text


def covering(name: str) -> list[Typist]:
    """The fewest paths, taken greedily, on which every question is asked; test_interview.py takes every path."""
    paths = [(path.places, {question for question, _kind, _many in path.asked}) for path, _content in walked(name)]
    todo: set[str] = set().union(*(questions for _places, questions in paths))
    chosen: list[Typist] = []
    while todo:
        places, questions = max(paths, key=lambda pair: len(pair[1] & todo))
        todo -= questions
        chosen.append(Typist(places, MACHINES[name]))
        chosen[-1].run()
    return chosen


@pytest.mark.timeout(300)
def test_every_question_on_a_terminal(environ: dict[str, str], tmp_path: Path) -> None:
    machine = MACHINES["4 GPUs"]
    paths = covering("4 GPUs")
    facts = (machine.kind, str(machine.count), str(machine.cores), str(len(paths)), str(tmp_path))
    wizard = Terminal(environ, program=(sys.executable, "-c", SERIES, *facts))
    for run, path in enumerate(paths):
        wizard.child.expect_exact(f"run {run} begins")
        for question, keys in path.typed:
            wizard.answer(question, keys)
        wizard.child.expect_exact(f"run {run} ends")
        expected = Typist(path.places, machine).run()
        assert yaml.safe_load((tmp_path / f"{run}.yaml").read_text()) == expected, path.typed
    assert wizard.end() == 0
    typed = {question for path in paths for question, _keys in path.typed}
    assert typed >= {one.ask for one in CATALOGUE.settings if one.ask}
