"""What scripts, engines and processes can call themselves or leave behind: no traceback of ours, no lost status."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from accel_launch.machine import process_tree
from accel_launch.planning.types import Command, Plan
from accel_launch.ranks.system import linux
from accel_launch.running.engine_record import attempts_in, running_in
from accel_launch.running.report.evidence import error_file
from accel_launch.running.report.judging import attempt_note
from accel_launch.running.report.judging import judge as judged
from accel_launch.running.report.rendering import as_json
from accel_launch.running.report.rendering import text as report
from accel_launch.running.supervising.event_reader import EventReader
from tests.conftest import Run
from tests.fuzzing import fuzz
from tests.launch.processes import Script, Start
from tests.launch.test_report import seen
from tests.schedule import sampled

N1 = ("--cpu", "--num_processes", "1", "--engine", "local")
ERROR_FILES = {
    "dict in dict": b'{"message": {"message": {"message": {"a": [1]}}, "extraInfo": {"py_callstack": {"b": 2}}}}',
    "list": b'{"message": ["a", {"b": null}]}',
    "number": b'{"message": 1e999}',
    "list for all": b"[1, 2]",
    "text for all": b'"message"',
    "null": b'{"message": null}',
    "no text": b'{"message": {"message": {}, "extraInfo": [1]}}',
    "not UTF-8": b'{"message": "\xff\xfe\x80"}',
    "half a character": b'{"message": "\\ud800 \\udfff"}',
    "control characters": b'{"message": "\\u0000\\f\\u001c\\u2028\\r\\n\\u0085"}',
    "nothing but line ends": b'{"message": "\\n\\n"}',
    "deep": b'{"message": ' + b"[" * 200_000,
    "deep and whole": b'{"message": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    "deep enough": b'{"message": ' + b"[" * 900 + b"]" * 900 + b"}",
    "digits": b'{"message": ' + b"9" * 5000 + b"}",
    "huge": b'{"message": "' + b"x" * 3_000_000 + b'"}',
    "large": b'{"message": "' + b"x" * 500_000 + b'"}',
    "empty": b"",
    "nul": b"\0" * 1000,
}


@pytest.mark.parametrize("name", sampled(ERROR_FILES, every=4))
def test_any_error_file_leaves_the_status_its_own(accelerate: Run, script: Script, tmp_path: Path, name: str) -> None:
    (tmp_path / "error").write_bytes(ERROR_FILES[name])
    path = script(
        "import os, shutil, sys\nshutil.copyfile('error', os.environ['TORCHELASTIC_ERROR_FILE'])\nsys.exit(7)\n"
    )
    done = accelerate("launch", *N1, "--report", "report.json", str(path), env={"PYTHONUTF8": "0", "LC_ALL": "C"})
    assert done.returncode == 7
    assert "Traceback" not in done.stderr
    assert "cause: exit status 7" in done.stderr
    assert len(done.stderr) < 2000
    failure = json.loads((tmp_path / "report.json").read_text())["failure"]
    assert failure["exit_status"] == 7
    assert len(failure["exception"] or "") <= error_file.LIMIT


def test_nested_messages_are_told() -> None:
    told = {name: error_file.read(text.decode(errors="replace"))[:2] for name, text in ERROR_FILES.items()}
    assert told["dict in dict"] == ("{'message': {'a': [1]}}", "{'b': 2}")
    assert told["list"] == ("['a', {'b': None}]", "")
    assert told["null"] == ("", "")
    assert told["half a character"] == ("? ?", "")


TITLES = [
    "a\x0cended 0 9 1.0",
    "b\x1c\x1d\x1e\x85c",
    "d\u2028done",
    "e\nended 0 0 1",
    "f) 1 1 (",
    "\x1b]0;title\x07",
    "\udcff",
]


@pytest.mark.parametrize("title", sampled(TITLES, every=3), ids=range(len(TITLES)))
def test_a_process_left_over_can_be_called_anything(launched: Start, script: Script, title: str) -> None:
    path = script(
        "import os, subprocess, sys\n"
        'code = \'import sys, time; open("/proc/self/comm", "wb").write(sys.argv[1].encode(errors="surrogateescape")[:15]); time.sleep(60)\'\n'
        f"words = [{title!r}, '-c', code, {title!r}]\n"
        "left = subprocess.Popen(words, executable=sys.executable, start_new_session=True)\n"
        "print(left.pid, flush=True)\n"
    )
    running = launched(*N1, "--grace", "0.5", path)
    out, err = running.communicate(timeout=30)
    assert running.returncode == 0, err
    assert "Traceback" not in err
    (note,) = [line for line in err.split("\n") if "left running" in line]
    assert note.endswith(f"(pid {out.strip()})")
    assert note.isprintable()
    assert len(err.split("\n")) == 3, err  # what runs, the note, and the end


def test_a_program_that_cannot_be_started_can_be_called_anything(accelerate: Run, tmp_path: Path) -> None:
    path = tmp_path / "a\x0cb\nc\x85d"
    path.write_text("#!/nowhere\n")
    path.chmod(0o755)
    done = accelerate("launch", "--cpu", "--num_processes", "2", "--no_python", str(path))
    assert done.returncode == 127
    assert "No such file or directory" in done.stderr
    assert "Traceback" not in done.stderr


NOISE = [b" ", b"\n", b"\x0c", b"(", b")", b"-", b"\xff", b"\x85", b"0", b"1", b"9" * 40, b"started", b"ended", b"."]
ODD = [b"nan", b"inf", b"1e400", b"left", b"note", b"{", b"[", b'"', b":", b"message", b"\\ud800", b"null", b"\0"]


def _noise(dice: random.Random, most: int = 60) -> bytes:
    return b"".join(dice.choice([*NOISE, *ODD]) for _part in range(dice.randrange(most)))


def _line(dice: random.Random) -> bytes:
    """A line such as ranks' parents write, often with one word replaced."""
    kind = dice.choice([b"started", b"ended"])
    numbers = [b"%d" % dice.randrange(4) for _number in range(2)] + [b"%d" % dice.randrange(1, 9)]
    last = [b"%d" % dice.randrange(9), dice.choice([b"-", b"0", b"1"])] if kind == b"started" else [b"256", b"1.5"]
    words = [kind, *numbers, *last]
    if dice.random() < 0.3:
        words[dice.randrange(len(words))] = _noise(dice, 4)
    return b" ".join(words)


@pytest.mark.fuzz
def test_nothing_that_processes_write_breaks_a_reader() -> None:
    plan = Plan("torchrun", (Command(("x",), {}),), hosted=4)

    def one_round(dice: random.Random) -> None:
        record = b"\n".join(_line(dice) for _line_number in range(dice.randrange(12))).decode(errors="replace")
        attempts = attempts_in(record)
        running_in(record)
        error = dice.choice([_noise(dice), json.dumps(_value(dice)).encode(), *ERROR_FILES.values()]).decode(
            errors="replace"
        )

        def told(_local: int) -> str:
            return error

        result = judged(
            plan,
            seen(
                *attempts[-1],
                earlier=tuple(map(tuple, attempts[:-1])),
                error=told,
                tail=_noise(dice).decode(errors="replace"),
            ),
        )
        report(result, "host")
        json.loads(as_json(result, "host"))
        for number, attempt in enumerate(attempts):
            attempt_note(number, tuple(attempt))
        name = _noise(dice, 12)[:15]
        stat = b"4 (%s) S 3 2 1 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 777 0 0" % name
        assert linux.facts_in(stat) == (3, 1, 777)
        title = process_tree.shortened(_noise(dice))
        assert title.isprintable()
        assert len(title) <= process_tree.TITLE

    fuzz(one_round)


def _value(dice: random.Random, depth: int = 0) -> object:
    kind = dice.randrange(7 if depth < 4 else 4)
    if kind < 4:
        return [None, dice.random() * 10 ** dice.randrange(300), _noise(dice, 5).decode(errors="replace"), "\ud800"][
            kind
        ]
    if kind == 4:
        return [_value(dice, depth + 1) for _item in range(dice.randrange(3))]
    names = ["message", "extraInfo", "py_callstack", "x"]
    return {name: _value(dice, depth + 1) for name in names if dice.random() < 0.7}


def test_a_note_can_hold_other_ends_of_lines() -> None:
    """The guardian's events are lines that end with a line feed, and with nothing else."""
    import os

    reader, writer = os.pipe()
    printed: list[str] = []
    events = EventReader(reader, lambda place: place, None, printed.append)
    os.write(writer, "left 7 a\x0cended 0 0 1\nnote b\x85done\n".encode())
    events.read()
    os.close(reader)
    os.close(writer)
    assert (events.endings, events.done) == ([], False)
    assert events.notes == ["terminated a process that the script left running: a\x0cended 0 0 1 (pid 7)"]


FOREIGN = "raise SystemExit('a stranger was asked')\n"


def test_no_strangers_code_runs_to_answer_a_question(environ: dict[str, str], tmp_path: Path) -> None:
    """A package can register whatever it likes; what it registers is loaded only when a user asks for it."""
    folder = tmp_path / "site"
    (folder / "aaa_stranger-1.dist-info").mkdir(parents=True)
    (folder / "aaa_stranger.py").write_text(FOREIGN)
    (folder / "aaa_stranger-1.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: aaa-stranger\nVersion: 1\n"
    )
    groups = (
        "accel_config.asking.machine",
        "accel_config.asking.makers",
        "accel_launch.engines",
        "torchrun.handlers",
    )
    (folder / "aaa_stranger-1.dist-info" / "entry_points.txt").write_text(
        "".join(f"[{group}]\nstranger = aaa_stranger:answer\n" for group in groups)
    )
    environ["PYTHONPATH"] = str(folder)
    (tmp_path / "train.py").touch()
    program = str(Path(sys.executable).with_name("accelerate"))
    for words in (
        ["config", "default"],
        ["config", "--yes"],
        ["config", "validate"],
        ["launch", "--help", "all"],
        ["launch", "--cpu", "--num_processes", "2", "--dry_run", "train.py"],
        ["env"],
    ):
        done = subprocess.run(
            [program, *words], env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=60
        )
        assert "a stranger was asked" not in done.stdout + done.stderr, words
        assert done.returncode == 0, (words, done.stderr)
    asked = subprocess.run(
        [program, "launch", "--engine", "stranger", "train.py"],
        env=environ,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert "a stranger was asked" in asked.stderr
