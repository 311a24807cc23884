"""The `launch` command itself: what it prints about its settings and about the words that it was given."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pexpect  # pyright: ignore[reportMissingTypeStubs]
import pytest

from accel_config import CATALOGUE
from tests.conftest import BIN, Run
from tests.schedule import sampled

NOTE = (
    "accel: note: --cpu stands after the script, so the script receives it. To set the launcher, write it before {}\n"
)


def test_a_launchers_flag_after_the_script_is_a_note_that_quiet_silences(
    accelerate: Run, script: Callable[[str], Path]
) -> None:
    path = script("import sys; print(sys.argv[1:])")
    done = accelerate("launch", "--cpu", path, "--cpu")
    assert (done.returncode, done.stdout) == (0, "['--cpu']\n")
    assert NOTE.format(path) in done.stderr
    done = accelerate("launch", "-q", "--cpu", path, "--cpu")
    assert (done.returncode, done.stdout, done.stderr) == (0, "['--cpu']\n", "")


def test_version(accelerate: Run) -> None:
    done = accelerate("launch", "--version")
    assert (done.returncode, done.stdout) == (0, f"accel-launch {version('accel-launch')}\n")


def explain(environ: dict[str, str], columns: int, folder: Path, *words: str) -> list[str]:
    environ = {name: text for name, text in environ.items() if name != "COLUMNS"}
    terminal: Any = pexpect.spawn(
        str(BIN / "accelerate"), list(words), env=environ, cwd=str(folder),
        encoding="utf-8", dimensions=(24, columns), timeout=30,
    )  # fmt: skip
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 0
    return str(terminal.before).replace("\r", "").splitlines()


@pytest.mark.parametrize("columns", sampled([40, 60, 100], every=3))
@pytest.mark.parametrize("command", ["launch --explain", "launch --explain all", "config show", "config show --all"])
def test_settings_are_shown_in_the_terminals_width(
    environ: dict[str, str], tmp_path: Path, accelerate: Run, command: str, columns: int
) -> None:
    """A value or origin that is too long is shortened in its middle; where there is no terminal, nothing is."""
    path = tmp_path / f"{'long-' * 20}name.yaml"
    path.write_text(f"main_training_function: {'a' * 50}{'z' * 50}\nnum_processes: 2\n")
    environ["ACCELERATE_CONFIG_FILE"] = str(path)
    lines = explain(environ, columns, tmp_path, *command.split())
    assert max(map(len, lines)) <= columns
    (row,) = (line for line in lines if line.startswith("main_trai"))
    assert "a…z" in row
    assert row.endswith("l:1")
    (count,) = (line for line in lines if line.startswith("num_proc"))
    assert count.split()[1] == "2"
    whole = accelerate(*command.split(), env={"ACCELERATE_CONFIG_FILE": str(path), "COLUMNS": "40"}).stdout
    assert "a" * 50 + "z" * 50 in whole
    assert whole.count(str(path)) >= 2
    assert "…" not in whole


def test_explain_all_shows_every_setting(accelerate: Run) -> None:
    short, whole = (accelerate("launch", "--explain", *more).stdout.splitlines() for more in ([], ["all"]))
    assert len(whole) == len(CATALOGUE.settings)
    assert not any("built in" in line for line in short[:-1])
    assert short[-1] == f"{len(whole) - len(short) + 1} more are built in: --explain all shows them"


def test_explain_still_takes_a_script_of_any_name(accelerate: Run, tmp_path: Path) -> None:
    (tmp_path / "all").touch()
    for words in (["x.py"], ["all"]):
        done = accelerate("launch", "--explain", *words)
        assert done.stdout.endswith("more are built in: --explain all shows them\n")
    assert accelerate("launch", env={"ACCELERATE_LAUNCH_EXPLAIN": "yes"}).stdout.startswith("explain  true  ")


@pytest.mark.parametrize(
    ("ranks", "note"), [("7", "no local rank 7, so no output is shown"), ("0,2", "no local rank 2"), ("0,1", "")]
)
def test_ranks_to_show_that_this_machine_lacks_are_noted(
    accelerate: Run, script: Callable[[str], Path], ranks: str, note: str
) -> None:
    words = ("launch", "--cpu", "--num_processes", "2", "--filter_ranks")
    done = accelerate(*words, ranks, "--dry_run", str(script("")))
    assert done.returncode == 0
    assert (f"# note: filter_ranks {ranks} (--filter_ranks): this machine has {note}\n" in done.stdout) == bool(note)
    assert accelerate(*words, "9" * 5000, str(script(""))).returncode == 2
