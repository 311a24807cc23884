"""The wizard on a real terminal: every kind of key, every branch, and nothing written before the end."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pexpect  # pyright: ignore[reportMissingTypeStubs]
import pytest
import yaml

from accel_config import CATALOGUE
from accel_config.asking.machine import this_machine
from accel_config.settings.machine import MachineFacts
from tests.conftest import BIN, ROOT
from tests.docs.pages import blocks
from tests.schedule import sampled

from .answers import MACHINES, walked
from .answers import Path as Answers

DOWN, ENTER, ESCAPE, TAB, END_OF_INPUT, INTERRUPT, WIPE = "\x1b[B", "\r", "\x1b", "\t", "\x04", "\x03", "\x15"


class Terminal:
    """The wizard on a pty, and a person who types."""

    def __init__(
        self,
        environ: dict[str, str],
        *words: str,
        program: tuple[str, ...] = (),
        size: tuple[int, int] = (60, 200),
        term: str = "xterm",
        folder: Path | None = None,
    ) -> None:
        command = program or (str(BIN / "accelerate"), "config", *words)
        self.child: Any = pexpect.spawn(
            command[0],
            list(command[1:]),
            env={**environ, "TERM": term},
            encoding="utf-8",
            dimensions=size,
            cwd=folder,
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
    wizard.answer("an answer is needed", "Head.Node" + ENTER)
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
    wizard.answer("Save these answers", ENTER)
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


@pytest.mark.parametrize(
    ("there", "key"),
    sampled([(True, INTERRUPT), (False, INTERRUPT), (True, END_OF_INPUT), (False, END_OF_INPUT)], every=3),
    ids=["there-Ctrl-C", "new-Ctrl-C", "there-Ctrl-D", "new-Ctrl-D"],
)
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
    wizard.child.expect_exact("isn't changed")
    assert wizard.end() == 1
    assert path.read_text() == "num_processes: 7\n"


def test_a_file_that_cant_be_read_is_told_and_replaced(environ: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    path.write_text('{"num_processes": 7,')
    wizard = Terminal(environ, "--config_file", str(path))
    wizard.answer("exists. Replace it", "y")
    wizard.child.expect_exact("c.json:1: this isn't valid JSON")
    wizard.child.expect_exact("proposes nothing from this file")
    wizard.answer("In which compute environment", ENTER)
    wizard.answer("Which type of machine", ENTER)
    for question in ("on CPU only", "mixed precision", "torch dynamo", "Save these answers"):
        wizard.answer(question, ENTER)
    assert wizard.end() == 0
    assert json.loads(path.read_text())["num_processes"] == 1


def on_cpus(environ: dict[str, str], path: Path, **how: Any) -> Terminal:
    """A wizard that has come to the number of machines."""
    wizard = Terminal(environ, "--config_file", str(path), **how)
    wizard.answer("In which compute environment", ENTER)
    wizard.answer("Which type of machine", DOWN + ENTER)
    return wizard


def finish(wizard: Terminal, *, chosen: str = ENTER) -> int:
    """Take what is proposed to the last questions."""
    for question in ("mpirun", "mixed precision", "torch dynamo", "Should distributed"):
        wizard.answer(question, ENTER)
    wizard.answer("Save these answers", chosen)
    return wizard.end()


def test_what_is_typed_replaces_the_default(environ: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("distributed_type: MULTI_CPU\nuse_cpu: true\nnum_processes: 8\n")
    wizard = Terminal(environ, "--config_file", str(path), size=(24, 160))
    wizard.answer("exists. Replace it", "y")
    for question in ("In which compute environment", "Which type of machine"):
        wizard.answer(question, ENTER)
    wizard.answer("How many different machines will you use?", ENTER)
    wizard.answer("How many processes", "1")
    wizard.child.expect_exact("[8]")
    wizard.child.send(ENTER)
    assert finish(wizard) == 0
    assert yaml.safe_load(path.read_text())["num_processes"] == 1


@pytest.mark.exhaustive
def test_tab_takes_the_default_to_be_changed(environ: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    wizard = on_cpus(environ, path)
    wizard.answer("How many different machines", TAB + "\x7f" + "1" + ENTER)
    wizard.answer("How many processes", "1" + ENTER)
    assert finish(wizard) == 0
    assert yaml.safe_load(path.read_text())["num_machines"] == 1


@pytest.mark.parametrize("key", sampled([ESCAPE, "<"], every=2))
def test_going_back_asks_again_and_proposes_the_answer(environ: dict[str, str], tmp_path: Path, key: str) -> None:
    path = tmp_path / "c.yaml"
    wizard = on_cpus(environ, path)
    wizard.answer("How many different machines", "2" + ENTER)
    wizard.answer("How many processes", key)
    wizard.answer("How many different machines", key)
    wizard.child.expect_exact("Which type of machine")
    wizard.child.expect(r"\u00bb \S*Several processes on CPUs")
    wizard.child.send(ENTER)
    wizard.child.expect_exact("How many different machines")
    wizard.child.expect_exact("[2]")
    wizard.child.send("1" + ENTER)
    wizard.answer("How many processes", "1" + ENTER)
    wizard.answer("mpirun", key)
    wizard.child.expect_exact("How many processes")
    wizard.child.expect_exact("[1]")
    wizard.child.send(ENTER)
    assert finish(wizard) == 0
    found = yaml.safe_load(path.read_text())
    assert (found["distributed_type"], found["num_machines"], found["num_processes"]) == ("MULTI_CPU", 1, 1)


@pytest.mark.exhaustive
def test_one_answer_is_changed_at_the_end_and_the_others_stay(environ: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    wizard = on_cpus(environ, path, size=(24, 80))
    wizard.answer("How many different machines", ENTER)
    wizard.answer("How many processes", "1" + ENTER)
    wizard.answer("mpirun", ENTER)
    wizard.answer("mixed precision", DOWN * 2 + ENTER)
    wizard.answer("torch dynamo", ENTER)
    wizard.answer("Should distributed", ENTER)
    wizard.answer("Save these answers", DOWN + ENTER)
    wizard.answer("Which answer do you want to change", DOWN * 2 + ENTER)
    wizard.answer("How many different machines", "2" + ENTER)
    # Two machines need more answers, and the number of processes can't be theirs.
    wizard.answer("How many processes", "2" + ENTER)
    wizard.answer("What is the rank", ENTER)
    wizard.answer("IP address", "node" + ENTER)
    for question in ("What is the port", "same local network"):
        wizard.answer(question, ENTER)
    wizard.answer("Save these answers", ENTER)
    assert wizard.end() == 0
    found = yaml.safe_load(path.read_text())
    wanted = {"num_machines": 2, "num_processes": 2, "main_process_ip": "node", "mixed_precision": "bf16"}
    assert {name: found[name] for name in wanted} == wanted


@pytest.mark.exhaustive
def test_leaving_at_the_end_writes_nothing(environ: dict[str, str], tmp_path: Path) -> None:
    wizard = on_cpus(environ, tmp_path / "c.yaml")
    wizard.answer("How many different machines", ENTER)
    wizard.answer("How many processes", "1" + ENTER)
    assert finish(wizard, chosen=DOWN * 2 + ENTER) == 1
    assert "nothing was written" in wizard.seen.getvalue()
    assert not any(tmp_path.iterdir())


@pytest.mark.exhaustive
@pytest.mark.skipif(bool(this_machine().count), reason="this machine has an accelerator")
@pytest.mark.parametrize("insists", [True, False])
def test_what_the_machine_lacks_is_asked_again(environ: dict[str, str], tmp_path: Path, insists: bool) -> None:
    path = tmp_path / "c.yaml"
    wizard = Terminal(environ, "--config_file", str(path), size=(24, 80))
    wizard.answer("In which compute environment", ENTER)
    wizard.answer("Which type of machine", DOWN * 2 + ENTER)
    wizard.answer("This machine has no GPU", "y" if insists else "n")
    if insists:
        for question in ("How many different machines",):
            wizard.answer(question, ENTER)
        wizard.answer("How many processes", "8" + ENTER)
        for question in ("Which GPUs", "NUMA", "DeepSpeed", "FullySharded", "Megatron"):
            wizard.answer(question, ENTER)
    else:
        wizard.answer("Which type of machine", ENTER)
        wizard.answer("on CPU only", ENTER)
    for question in ("mixed precision", "torch dynamo", "Should distributed"):
        if insists or "distributed" not in question:
            wizard.answer(question, ENTER)
    wizard.answer("Save these answers", ENTER)
    assert wizard.end() == 0
    kind, number = ("MULTI_GPU", 8) if insists else ("NO", 1)
    found = yaml.safe_load(path.read_text())
    assert (found["distributed_type"], found["num_processes"]) == (kind, number)


@pytest.mark.exhaustive
def test_more_answers_than_lines(environ: dict[str, str], tmp_path: Path) -> None:
    """The last of many answers can be changed where not all of them fit on the screen."""
    wizard = on_cpus(environ, tmp_path / "c.yaml", size=(10, 80))
    wizard.answer("How many different machines", "2" + ENTER)
    wizard.answer("How many processes", "2" + ENTER)
    wizard.answer("What is the rank", ENTER)
    wizard.answer("IP address", "node" + ENTER)
    for question in ("What is the port", "same local network", "mpirun", "mixed precision"):
        wizard.answer(question, ENTER)
    wizard.answer("torch dynamo", ENTER)
    wizard.answer("Should distributed", ENTER)
    wizard.answer("Save these answers", DOWN + ENTER)
    wizard.answer("Which answer do you want to change", "\x1b[A" + ENTER)
    wizard.answer("Should distributed", "y")
    wizard.answer("Save these answers", ENTER)
    assert wizard.end() == 0
    assert yaml.safe_load((tmp_path / "c.yaml").read_text())["debug"] is True


def test_a_terminal_that_cant_move_its_cursor(environ: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    wizard = Terminal(environ, "--config_file", str(path), term="dumb", size=(24, 80))
    wizard.answer("In which compute environment", "\n")
    wizard.answer("Which type of machine", "1\n")
    wizard.answer("How many different machines", "many\n")
    wizard.answer("must be a whole number", "1\n")
    wizard.answer("How many processes", "<\n")
    wizard.answer("How many different machines", "\n")
    wizard.answer("How many processes", "1\n")
    for question in ("mpirun", "[no]", "torch dynamo", "Should distributed", "Save these answers"):
        wizard.answer(question, "\n")
    assert wizard.end() == 0
    assert "\x1b" not in wizard.seen.getvalue()
    assert yaml.safe_load(path.read_text())["distributed_type"] == "MULTI_CPU"


@pytest.mark.parametrize(
    ("typed", "status", "said"),
    [
        ("0\n1\n1\n1\nno\nbf16\nno\nno\n0\n", 0, ""),
        ("\n" * 5 + "Save them\n", 0, ""),
        ("0\n1\n", 2, "the answers end before this question: How many different machines will you use?"),
        (
            "0\nsome\n",
            2,
            "the answer 'some' to 'Which type of machine are you using?': must be a number from 0 to 10",
        ),
        ("", 2, "questions need a terminal, or answers on standard input, one a line; `accelerate config --yes`"),
    ],
)
def test_answers_from_a_pipe(environ: dict[str, str], tmp_path: Path, typed: str, status: int, said: str) -> None:
    done = subprocess.run(
        [BIN / "accelerate", "config", "--config_file", tmp_path / "c.yaml"],
        env=environ,
        input=typed,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, (tmp_path / "c.yaml").exists()) == (status, status == 0), done.stderr
    assert said in done.stderr


@pytest.mark.skipif(bool(this_machine().count), reason="this machine has an accelerator")
def test_the_dialogue_on_the_page_is_a_real_one(environ: dict[str, str], tmp_path: Path) -> None:
    shown = next(block.text for block in blocks(ROOT / "docs/config.md") if block.title == "dialogue.txt")
    wizard = Terminal(environ, "--config_file", "new.yaml", size=(60, 100), folder=tmp_path)
    wizard.answer("In which compute environment", ENTER)
    wizard.answer("Which type of machine", DOWN * 2 + ENTER)
    wizard.answer("This machine has no GPU", ENTER)
    wizard.answer("Which type of machine", DOWN + ENTER)
    wizard.answer("How many different machines", ENTER)
    wizard.answer("How many processes", "2" + ENTER)
    wizard.answer("mpirun", ENTER)
    wizard.answer("mixed precision", DOWN * 2 + ENTER)
    for question in ("torch dynamo", "Should distributed", "Save these answers"):
        wizard.answer(question, ENTER)
    assert wizard.end() == 0
    screen = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", wizard.seen.getvalue())
    places = [squeezed(screen).find(squeezed(line)) for line in shown.splitlines()]
    assert -1 not in places, shown.splitlines()[places.index(-1)]
    assert places[0] < places[4] < places[8] < places[-1]


def squeezed(text: str) -> str:
    """The text without blanks, since the terminal wraps lines, and with another number of cores."""
    return re.sub(r"\[\d+\]", "[4]", re.sub(r"\s", "", text))


# One process asks for every path, since starting one takes longer than answering.
SERIES = """
import sys
from accel_config.asking.interview import Interview
from accel_config.settings.machine import MachineFacts
from accel_config.asking.terminal import Terminal
from accel_config.writing.spelling import document
kind, count, cores, runs = sys.argv[1:5]
for run in range(int(runs)):
    print(f"run {run} begins", flush=True)
    content = Interview(Terminal(), MachineFacts(kind, int(count), int(cores)), makers=("iam_role_name",)).run()
    open(f"{sys.argv[5]}/{run}.yaml", "w").write(document(content, "c.yaml"))
    print(f"run {run} ends", flush=True)
"""


class Typist(Answers):
    """A path that keeps the keys that give its answers on a terminal."""

    def __init__(self, places: list[int], machine: MachineFacts) -> None:
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
    """The fewest paths, taken greedily, on which every question is asked; test_interview.py takes every path.

    The first ones ask the most.
    """
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
@pytest.mark.exhaustive
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
    assert typed >= {one.ask.text for one in CATALOGUE.settings if one.ask}
