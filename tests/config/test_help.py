"""`launch --help`: its overview, sections and search; at any width, and through a pager where the terminal is short."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pexpect  # pyright: ignore[reportMissingTypeStubs]
import pytest

from accel_config import CATALOGUE, SettingError
from accel_config.settings.declaration import Section
from accel_config.showing.help import text, topics
from tests.conftest import BIN, Run

FLAG = re.compile(r"^  (?:-\w, )?--(\w+)", re.MULTILINE)


def shown(topic: str = "", width: int = 80) -> str:
    return text(CATALOGUE, "accelerate launch", topic, width)


def flags(topic: str = "", width: int = 80) -> set[str]:
    """The flags that have an entry, without the two that are no settings."""
    return set(FLAG.findall(shown(topic, width))) - {"help", "version"}


def own(section: type[Section]) -> set[str]:
    return {one.name for one in section.settings if one.flag}


def test_the_overview_shows_common_flags_and_every_section() -> None:
    common = {one.name for one in CATALOGUE.settings if one.common}
    assert flags() == common
    assert 15 <= len(common) <= 25
    for section in CATALOGUE.sections:
        assert re.search(rf"^  {section.short} +{re.escape(section.title)}", shown(), re.MULTILINE)


def test_all_shows_every_section_and_flag() -> None:
    assert flags("all") == flags("ALL") == {one.name for one in CATALOGUE.settings if one.flag}
    assert all(f"\n{section.title}\n" in shown("all") for section in CATALOGUE.sections)


@pytest.mark.parametrize("section", CATALOGUE.sections, ids=lambda section: section.short)
def test_a_section_is_found_by_its_word_title_and_key(section: type[Section]) -> None:
    names = [section.short, section.short.upper(), section.title, section.key, section.key.removesuffix("_config")]
    for name in filter(None, names):
        assert flags(name) == own(section), name


@pytest.mark.parametrize(
    ("topic", "title"),
    [
        ("precision", "Mixed precision"),
        ("restarts", "Several machines and restarts"),
        ("report", "Output and reports"),
        ("scheduler", "Schedulers and jobs"),
        ("mpirun-config", "MPI"),
    ],
)
def test_a_word_of_a_title_names_the_section(topic: str, title: str) -> None:
    (section,) = (section for section in CATALOGUE.sections if section.title == title)
    assert flags(topic) == own(section)


def test_any_other_word_searches_names_and_texts() -> None:
    found = flags("checkpoint")
    assert {"fsdp_activation_checkpointing", "fsdp_state_dict_type", "megatron_lm_no_load_optim"} <= found
    assert found == {
        one.name for one in CATALOGUE.settings if one.flag and "checkpoint" in f"{one.name} {one.help}".lower()
    }
    assert shown("checkpoint").startswith(f"{len(found)} flags have 'checkpoint' in the name or text.\n")
    assert "(--help fsdp):\n" in shown("checkpoint")
    assert flags("activation offload") < found
    assert flags("num_processes") == flags("--num-processes") >= {"num_processes"}
    assert shown("lifeline_secret").startswith("1 flag has 'lifeline_secret' in the name or text.\n")


@pytest.mark.parametrize(("topic", "nearest"), [("fspd", "fsdp"), ("mixed percision", "Mixed precision")])
def test_an_unknown_topic_is_a_mistake_with_the_nearest(topic: str, nearest: str) -> None:
    with pytest.raises(SettingError, match=f"no section is called '{topic}'.*Did you mean '{nearest}'"):
        shown(topic)


@pytest.mark.parametrize("width", [40, 57, 80, 120])
@pytest.mark.parametrize("topic", ["", "all", "memory"])
def test_no_line_is_wider_than_the_terminal_and_words_are_whole(topic: str, width: int) -> None:
    lines = shown(topic, width).splitlines()
    too_wide = [line for line in lines if len(line) > width and len(line.split()) > 1]
    assert not too_wide
    words = {word for one in CATALOGUE.settings if one.common for word in one.help.split()}
    assert topic == "memory" or words <= {word for line in lines for word in line.split()}


def test_choices_that_do_not_fit_the_line_are_in_the_text() -> None:
    assert "--fsdp_state_dict_type NAME" in shown("fsdp", 80)
    wide = " ".join(shown("fsdp", 80).split())
    assert "One of FULL_STATE_DICT, LOCAL_STATE_DICT, SHARDED_STATE_DICT." in wide
    assert "--fsdp_state_dict_type {FULL_STATE_DICT,LOCAL_STATE_DICT,SHARDED_STATE_DICT}" in shown("fsdp", 120)


def test_each_topic_that_completion_offers_exists() -> None:
    assert all(shown(topic) for topic in topics(CATALOGUE))


def test_without_a_terminal(accelerate: Run) -> None:
    done = accelerate("launch", "--help", env={"COLUMNS": "60", "PAGER": "false"})
    assert (done.returncode, done.stdout) == (0, shown(width=60))
    assert accelerate("launch", "--help", "fsdp", env={"COLUMNS": ""}).stdout == shown("fsdp", 80)
    assert accelerate("launch", "--help", "train.py", env={"COLUMNS": ""}).stdout == shown("", 80)
    unknown = accelerate("launch", "--help", "xpy")
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert unknown.stderr.splitlines()[1] == "accelerate launch: `accelerate launch --help` lists the sections"


def at_a_terminal(environ: dict[str, str], rows: int, columns: int, *words: str, **more: str) -> Any:
    environ = {name: text for name, text in environ.items() if name not in ("COLUMNS", "LINES", "PAGER", "LESS")}
    return pexpect.spawn(
        str(BIN / "accelerate"), ["launch", *words], env={**environ, "TERM": "xterm", **more},
        encoding="utf-8", dimensions=(rows, columns), timeout=30,
    )  # fmt: skip


def printed(terminal: Any) -> str:
    """All that comes until the end, without the terminal's carriage returns."""
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 0
    return str(terminal.before).replace("\r", "")


def test_it_is_as_wide_as_the_terminal(environ: dict[str, str]) -> None:
    assert printed(at_a_terminal(environ, 2000, 53, "--help", "all")) == shown("all", 53)
    assert printed(at_a_terminal(environ, 2000, 300, "--help")) == shown(width=120)
    assert printed(at_a_terminal(environ, 2000, 53, "--help", COLUMNS="70")) == shown(width=70)
    assert printed(at_a_terminal(environ, 2000, 20, "--help")) == shown(width=40)


def test_the_pager_gets_what_is_longer_than_the_terminal(environ: dict[str, str], tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    pager = {"PAGER": f"cat > {seen}; echo paged"}
    assert printed(at_a_terminal(environ, 24, 80, "--help", **pager)) == "paged\n"
    assert seen.read_text() == shown()
    seen.unlink()
    long = len(shown().splitlines())
    assert printed(at_a_terminal(environ, long, 80, "--help", **pager)) == "paged\n"  # the prompt takes a line too
    seen.unlink()
    for rows, more in ((long + 1, pager), (24, {"PAGER": ""}), (24, {**pager, "TERM": "dumb"})):
        assert printed(at_a_terminal(environ, rows, 80, "--help", **more)) == shown()
    assert not seen.exists()


def test_a_pager_that_is_missing_or_left_early_is_no_failure(environ: dict[str, str]) -> None:
    missing = printed(at_a_terminal(environ, 24, 80, "--help", PAGER="/nowhere/pager 2>/dev/null"))
    assert missing == shown()
    assert (
        printed(at_a_terminal(environ, 24, 80, "--help", "all", PAGER="head -1"))
        == f"{shown('all')[:200].splitlines()[0]}\n"
    )


@pytest.mark.skipif(not any(os.access(f"{folder}/less", os.X_OK) for folder in os.get_exec_path()), reason="no less")
def test_less_is_the_pager_unless_another_is_named(environ: dict[str, str]) -> None:
    terminal = at_a_terminal(environ, 24, 80, "--help")
    terminal.expect_exact("usage: accelerate launch")
    terminal.expect_exact("\r\n:")  # its prompt below the first screen
    assert "ACCELERATE_LAUNCH_<NAME>" not in terminal.before
    terminal.send("q")
    printed(terminal)
