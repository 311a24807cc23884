"""No escape of a stranger reaches the terminal, and no line end of a stranger begins a line of ours."""

from __future__ import annotations

import os
import pty
import random
import re
import subprocess
import unicodedata
from collections.abc import Callable
from contextlib import suppress
from itertools import product
from pathlib import Path

import pytest

from accel_config import CATALOGUE
from tests.calling import Called, call
from tests.conftest import BIN
from tests.fuzzing import fuzz
from tests.schedule import sampled

FAKED = "FAKED"
STRANGE = (
    "\x1b[31m", "\x1b]0;title\x07", "\x1b]52;c;aGk=\x1b\\", "\x9b31m", "\x90q\x9c", "\u202e", "\u2066", "\u200f",
    "\r", "\b", "\x7f", "\v", "\f", "\x85", "\u2028", "\u200b", "\ufeff", "\x00", f"\n{FAKED} ", f"\r\n{FAKED} ",
)  # fmt: skip
EVIL = "a" + "".join(one for one in STRANGE if one != "\x00") + "b"
"""What a variable or a word of a command line can hold: everything but NUL."""
NAME = EVIL.replace("/", "").replace("\\", "")[:80]
"""What the name of a file can hold."""


def strangers(done: Called) -> list[str]:
    """What shouldn't be in the output."""
    text = done.text
    found = [
        repr(letter)
        for letter in text
        if letter not in "\n\t" and unicodedata.category(letter) in ("Cc", "Cf", "Zl", "Zp")
    ]
    # A line of ours may begin with who speaks; what follows is a line of ours, too.
    return found + re.findall(rf"(?m)^(?:[\w ()-]+: )*{FAKED}.*$", text)


def check(words: list[str], folder: Path, environ: dict[str, str] | None = None) -> Called:
    """Call the command, and check what it prints."""
    done = call(words, folder, environ)
    assert strangers(done) == [], words
    assert done.status in (0, 1, 2, 127), (words, done)
    return done


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "t.py").write_text("")
    (tmp_path / "c.yaml").write_text("num_processes: 2\n")
    return tmp_path


ROUTES: dict[str, Callable[[str], list[str]]] = {
    "command": lambda evil: [evil],
    "flag": lambda evil: ["launch", f"--{evil}", "t.py"],
    "script": lambda evil: ["launch", evil],
    "module": lambda evil: ["launch", "-m", evil],
    "program": lambda evil: ["launch", "--no_python", evil],
    "interpreter": lambda evil: ["launch", "--cpu", "--python", evil, "t.py"],
    "several": lambda evil: ["launch", "--cpu", "--num_processes", "2", "--no_python", evil],
    "help": lambda evil: ["launch", "--help", evil],
    "test": lambda evil: ["test", evil],
    "config": lambda evil: ["config", evil],
    "config file": lambda evil: ["config", "validate", "--config_file", evil],
    "launch with file": lambda evil: ["launch", "--config_file", evil, "t.py"],
    "env with file": lambda evil: ["env", "--config_file", evil],
    "get": lambda evil: ["config", "get", evil],
    "set a key": lambda evil: ["config", "set", "--config_file", "c.yaml", evil, "1"],
    "set a number": lambda evil: ["config", "set", "--config_file", "c.yaml", "num_processes", evil],
    "set a text": lambda evil: ["config", "set", "--config_file", "c.yaml", "main_process_ip", evil],
    "set in a new file": lambda evil: ["config", "set", "--config_file", f"{evil}.yaml", "num_processes", "2"],
    "default to a file": lambda _evil: ["config", "default", "--config_file", f"{NAME}.yaml"],
    "wizard's file": lambda _evil: ["config", "--yes", "--config_file", f"{NAME}.yaml"],
    "schema": lambda _evil: ["config", "schema", "--output", f"{NAME}.json"],
    "to-fsdp2": lambda evil: ["to-fsdp2", "--config_file", evil],
    "merge-weights": lambda evil: ["merge-weights", evil, evil],
    "merge-weights, flag": lambda evil: ["merge-weights", f"--{evil}", "a", "b"],
    "estimate": lambda evil: ["estimate-memory", f"./{evil}"],
    "estimate, device": lambda evil: ["estimate-memory", ".", "--fits", evil],
    "estimate, sweep": lambda evil: ["estimate-memory", ".", "--training", "--sweep", evil],
    "estimate, type": lambda evil: ["estimate-memory", ".", "--dtypes", evil],
    "completion": lambda evil: ["completion", evil],
    "tpu-config": lambda evil: ["tpu-config", "--tpu_name", "a", "--tpu_zone", "b", "--command_file", evil],
    "tpu-config, flag": lambda evil: ["tpu-config", f"--{evil}"],
    "sagemaker": lambda evil: ["sagemaker", evil],
    "sagemaker job": lambda evil: ["sagemaker", "status", "--region", evil, evil],
}


@pytest.mark.parametrize("route", ROUTES)
def test_words(folder: Path, route: str) -> None:
    check(ROUTES[route](EVIL), folder)


@pytest.mark.parametrize("name", sampled((one.name for one in CATALOGUE.settings if one.flag), every=6))
def test_flags(folder: Path, name: str) -> None:
    check(["launch", f"--{name}={EVIL}", "--explain", "t.py"], folder)


TEXTS = [one for one in CATALOGUE.settings if one.kind is str and not one.choices and one.name != "config_file"]


@pytest.mark.parametrize("command", [["launch", "--explain", "t.py"], ["env"], ["config", "show"]])
def test_variables(folder: Path, command: list[str]) -> None:
    environ = {one.variable: EVIL for one in TEXTS} | {f"ACCELERATE_LAUNCH_{EVIL.replace('=', '')}": "1"}
    check(command, folder, environ)


OTHERS = [one.variable for one in CATALOGUE.settings if one not in TEXTS]


@pytest.mark.parametrize("variable", sampled(OTHERS, every=8))
def test_variables_that_hold_no_text(folder: Path, variable: str) -> None:
    check(["config", "show"], folder, {variable: EVIL})


FILE_ROUTES = ("validate", "show", "update", "env", "launch --explain t.py", "launch t.py", "to-fsdp2")
FILES = (
    "tpu_name: EVIL\n",
    "EVIL: 1\n",
    "EVIL: 1\nEVIL: 2\n",
    "fsdp_config: {EVIL: 1}\n",
    "num_processes: EVIL\n",
    "mixed_precision: EVIL\n",
    "distributed_type: EVIL\n",
    "commands: [EVIL]\n",
    "dynamo_backend: EVIL\n",
    "a: [EVIL\n",
    "a: *EVIL\n",
    "a: !EVIL b\n",
)


@pytest.mark.parametrize(("route", "text"), sampled(product(FILE_ROUTES, FILES), every=5))
def test_files(folder: Path, route: str, text: str) -> None:
    quoted = '"' + "".join(f"\\U{ord(letter):08x}" for letter in EVIL) + '"'
    bare = "".join(letter for letter in EVIL if letter.isprintable() or letter in "\x85\u2028\u202e\u2066")
    for evil in (quoted, bare):
        (folder / NAME).write_text(text.replace("EVIL", evil), encoding="utf-8")
        words = route.split()
        program = [] if words[0] in ("env", "launch", "to-fsdp2") else ["config"]
        check([*program, words[0], "--config_file", NAME, *words[1:]], folder)


def on_terminal(words: list[str], environ: dict[str, str]) -> bytes:
    """What a command prints to standard output where that is a terminal."""
    parent, child = pty.openpty()
    subprocess.run([BIN / "accelerate", *words], stdout=child, stderr=subprocess.DEVNULL, env=environ, check=True)
    os.close(child)
    shown = b""
    with suppress(OSError):  # the kernel's word for the end
        while data := os.read(parent, 65536):
            shown += data
    os.close(parent)
    return shown


FOR_PROGRAMS = {
    "a path": ["config", "path"],
    "a plan": ["launch", "--dry_run", "--cpu", "--num_processes", "2", "t.py", EVIL],
    "a Slurm script": ["launch", "--slurm", "--cpu", "t.py", EVIL],
    "pods": ["tpu-config", "--tpu_name", "a", "--tpu_zone", "b", "--command", EVIL, "--debug"],
}


@pytest.mark.parametrize("kind", FOR_PROGRAMS)
def test_text_for_a_program_stays_as_it_is(
    folder: Path, kind: str, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shell that asks for it gets the bytes; a terminal gets escapes."""
    monkeypatch.chdir(folder)
    piped = call(FOR_PROGRAMS[kind], folder, {"ACCELERATE_CONFIG_FILE": NAME} if kind == "a path" else None)
    assert (piped.status, "\x1b]0;title\x07" in piped.out.decode()) == (0, True)
    shown = on_terminal(FOR_PROGRAMS[kind], environ | ({"ACCELERATE_CONFIG_FILE": NAME} if kind == "a path" else {}))
    found = {letter for letter in shown.decode() if unicodedata.category(letter) in ("Cc", "Cf", "Zl", "Zp")}
    assert found <= {"\n", "\r", "\t"}  # the terminal adds the carriage returns
    assert b"\\x1b[31m" in shown


@pytest.mark.fuzz
def test_any_text_on_any_route(folder: Path) -> None:
    alphabet = (*STRANGE[:-3], f"\n{FAKED}", *"ab:=-/'\"{}[],.%é 01", "\udc9b", "\udcff")

    def one_round(chance: random.Random) -> None:
        evil = "".join(chance.choices(alphabet, k=chance.randint(1, 12))).replace("\x00", "")
        route = chance.choice([*ROUTES])
        done = call(ROUTES[route](evil), folder)
        assert strangers(done) == [], (route, evil)
        assert b"Traceback" not in done.err, (route, evil, done)

    fuzz(one_round)
