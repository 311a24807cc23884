"""What ranks record, as rows; and what is said of those that aren't well."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from accel_cli.diagnosis import ADVICE, diagnose
from accel_cli.trial import library
from accel_cli.trial.record import Recorder, Skipped, Wrong
from accel_cli.trial.results import Results, Row
from accel_config import CATALOGUE
from tests.conftest import Resolve

Votes = dict[int, tuple[str, str]]


def agree(outcomes: Votes) -> Callable[[str, str, str], Votes]:
    """A vote in which the other ranks say what is given."""

    def vote(_name: str, state: str, text: str) -> Votes:
        return {0: (state, text), **outcomes}

    return vote


def wrong() -> str:
    raise Wrong("got 1, expected 2")


def crash() -> str:
    raise OSError("no such thing")


def skip() -> str:
    raise Skipped("not here")


def test_rows_say_what_became_of_each(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, 0)
    assert recorder.run("good", lambda: "detail")
    assert recorder.run("skip", skip)
    assert recorder.run("wrong", wrong)
    assert recorder.failed
    assert not recorder.run("crash", crash)
    rows = {row.name: row for row in Results(tmp_path, 1).rows()}
    assert [row.state for row in rows.values()] == ["ok", "skipped", "failed", "failed"]
    assert str(rows["good"]).split() == ["ok", "0.00", "s", "good", "detail"]
    assert dict(rows["wrong"].bad) == {0: "got 1, expected 2"}
    assert dict(rows["crash"].bad) == {0: "OSError: no such thing (crash)"}


def test_a_failure_elsewhere_is_one(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, 0)
    assert recorder.run("check", lambda: "well here", agree({1: ("failed", "bad there")}))
    assert not recorder.run("next", lambda: None, agree({1: ("broken", "gone")}))
    first, second = Results(tmp_path, 1).rows()
    assert (first.state, dict(first.bad), second.state) == ("failed", {1: "bad there"}, "failed")
    assert recorder.failed


def test_a_rank_that_never_ends(tmp_path: Path) -> None:
    Recorder(tmp_path, 0).run("check", lambda: None)
    Recorder(tmp_path, 1).write(name="check", state="begun")
    with (tmp_path / "rank1.jsonl").open("a") as file:
        file.write('{"half a li')  # it was killed while writing
    (row,) = Results(tmp_path, 2).rows()
    assert (row.state, row.inside) == ("begun", (1,))
    assert "UNFINISHED" in str(row)
    assert "not finished on rank 1" in str(row)


def test_a_rank_that_never_began(tmp_path: Path) -> None:
    Recorder(tmp_path, 0).run("check", lambda: None)
    (row,) = Results(tmp_path, 2).rows()
    assert row.state == "begun"


def test_a_folder_that_is_elsewhere_is_no_trouble(tmp_path: Path) -> None:
    assert Recorder(tmp_path / "other machine", 3).run("check", lambda: None)
    assert not list(tmp_path.iterdir())


def test_the_diagnosis_names_settings_and_their_origins(settings: Resolve) -> None:
    rows = [Row("barrier", "ok"), Row("collectives float32 cuda", "failed", bad={1: "x"})]
    text = diagnose(rows, settings("--num_processes", "2"), {0: "GPU 0", 1: "GPU 1"})
    assert text.startswith("first problem: collectives float32 cuda, on rank 1 (GPU 1)\n")
    assert "num_processes 2 (--num_processes), gpu_ids" in text
    assert "NCCL_P2P_DISABLE=1" in text
    assert diagnose(rows[:1], settings(), {}) == ""


def test_ranks_of_several_machines_are_distinguished(tmp_path: Path, settings: Resolve) -> None:
    for rank in (2, 3):
        Recorder(tmp_path, rank).write(name="barrier", state="begun")
    first = Results(tmp_path, 2).first
    rows = [Row("barrier", "failed", bad={1: "x", 3: "y"})]
    text = diagnose(rows, settings(), dict(enumerate(("GPU 0", "GPU 1"), first)))
    assert text.startswith("first problem: barrier, on rank 1 (on another machine), rank 3 (GPU 1)\n")


def unsupported() -> str:
    raise RuntimeError("Unsupported type")


def test_only_what_ranks_do_together_may_be_unsupported(tmp_path: Path) -> None:
    """A torch that says so of itself, or a group that can't be made, is a failure."""
    recorder = Recorder(tmp_path, 0)
    assert recorder.run("collectives", unsupported, agree({}))
    assert not recorder.failed
    assert not recorder.run("process group", unsupported)
    assert recorder.failed


def test_every_setting_that_advice_names_exists() -> None:
    assert {name for advice in ADVICE for name in advice.settings} <= CATALOGUE.by_name.keys()


def test_a_failing_check_of_the_library_ends_its_script(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The library's real script is run in test_test.py; here stands one that fails in the middle."""
    module = ModuleType(library.SCRIPT)
    source = """
def first_check(): print("hidden")
def test_second(mode=1): print("seen"); assert mode == 1, "mode is off"
def test_third(): pass
def main():
    first_check()
    test_second(mode=2)
    test_third()
"""
    exec(source, module.__dict__)  # noqa: S102
    for name in ("accelerate", "accelerate.test_utils", "accelerate.test_utils.scripts"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, library.SCRIPT, module)
    monkeypatch.chdir(tmp_path)  # where it goes itself, and this brings us back
    with pytest.raises(SystemExit, match="1"):
        library.run(Recorder(tmp_path, 0), tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "rank0.jsonl").read_text().splitlines()]
    ended = {line["name"]: line["state"] for line in lines if line["state"] != "begun"}
    assert ended == {"library: first": "ok", "library: second, mode 2": "failed"}
    assert capsys.readouterr().err == "seen\n"
