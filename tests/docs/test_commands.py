"""Every command that a page shows is run, and prints what the page says.

A block of kind `console` is a session: its commands stand behind `$`, what they print stands below them, and a line
`...` is whatever is left out. A block of kind `sh` is commands alone, which have to succeed. A block with a title is a
file, there for all commands of its page. A comment above a block may say in which dependency group's environment it is
run, or why it can't be run here; it is then skipped with that reason.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from accel_config import CATALOGUE, split
from tests.conftest import BIN, ROOT
from tests.docs.pages import FRESH, PAGES, Block, blocks, stage
from tests.docs.test_paradigms import PAGES as ON_OTHER_MACHINES
from tests.environments import environment

# Pages whose sessions tests of their own run: on a machine with GPUs that is made up, with a package that they
# build, with a Hub on loopback.
ELSEWHERE = {
    *(f"docs/{page}" for page in (*ON_OTHER_MACHINES, "engines.md")),
    "packages/accel-estimate/README.md",
}
SESSIONS = [
    block
    for page in PAGES
    for block in blocks(page)
    if block.group != FRESH
    if block.kind == "sh" or (block.kind == "console" and page.relative_to(ROOT).as_posix() not in ELSEWHERE)
]
# A reader installs; here all is installed, and tests/workspace/test_extras.py holds the names against what there is.
PRELUDE = "pip() { case $1 in install) ;; *) return 2 ;; esac; }\n"
PROMPT = "$ "
# What differs from run to run and from machine to machine, and what stands for it when a page and a run are compared.
VOLATILE = [
    (r"/home/me(/project)?\b", "FOLDER"),
    (r"(?<![\w/])/[\w./-]+/bin/(python|mpirun)[0-9.]*", r"\1"),
    (r"(?<![\w/])/[\w./-]+/accel_launch/", "accel_launch/"),
    (r" --allow-run-as-root\b", ""),
    (r"\b\d+\.\d+ s\b", "SECONDS"),
    (r"\bpid \d+", "PID"),
    (r"\bhost \w+", "HOST"),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "TIME"),
    (r"\b(loss|accuracy) \d\.\d{4}", r"\1 NUMBER"),
    (r"\bMASTER_PORT=\d+", "PORT"),
    (r"\b\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d_", "RUN_"),
    (r"(?<=\S) {2,}", "  "),  # a table is as wide as its longest cell
]


def commands(text: str) -> list[tuple[str, str]]:
    """The commands of a session, each with what it prints."""
    found: list[tuple[str, str]] = []
    for line in text.splitlines(keepends=True):
        if line.startswith(PROMPT):
            found.append((line.removeprefix(PROMPT), ""))
        else:
            assert found, f"output before any command: {line}"
            command, printed = found.pop()
            found.append((command + line, "") if command.endswith("\\\n") else (command, printed + line))
    return found


def settled(text: str, folder: Path) -> str:
    """A text without what is volatile in it."""
    text = text.replace(str(folder), "/home/me")
    for volatile, name in VOLATILE:
        text = re.sub(volatile, name, text)
    return text


def agrees(shown: str, printed: str) -> bool:
    """Whether a page shows what was printed; `...` there is anything, and on a line of its own any number of lines."""
    parts = (re.escape(part).replace(r"\.\.\.", ".*") for part in re.split(r"^\.\.\.\n", shown, flags=re.MULTILINE))
    return re.fullmatch(r"(?:.*\n)*".join(parts), printed) is not None


def around(block: Block, environ: dict[str, str]) -> dict[str, str]:
    """The environment for a block's commands: what is installed is what its reader would have."""
    where = environment(block.group) if block.group else BIN
    return {
        **environ,
        "PATH": f"{where}:{environ['PATH']}",
        "UV_PROJECT": str(ROOT),
        "UV_NO_SYNC": "1",
        "COLUMNS": "120",
    }


def shell(line: str, folder: Path, environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a line as a reader would, with both streams in one as on a terminal."""
    return subprocess.run(
        ["bash", "-c", PRELUDE + line],
        cwd=folder,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=150,
    )


def trains(block: Block) -> bool:
    """Return whether the block's commands train a model, or wait for a hang, which takes a dozen seconds."""
    return any(
        any(word in line for word in ("examples/train_", "--stall_after", "--preload", "late.py"))
        and "--dry_run" not in line
        and "--explain" not in line
        for line in block.text.splitlines()
    )


def scripts(block: Block, folder: Path) -> list[str]:
    """Return the contents of the Python files of the folder that the block's commands name."""
    named = {folder / word for word in block.text.split() if word.endswith(".py")}
    return [path.read_text() for path in named if path.is_file()]


# Those that train, and of the others every second one, are run by .ci/run alone.
RUN = [block for block in SESSIONS if not block.reason and not trains(block)]
TIMED = [
    pytest.param(block, marks=pytest.mark.exhaustive) if trains(block) or block in RUN[1::2] else block
    for block in SESSIONS
]


@pytest.mark.parametrize("block", TIMED, ids=lambda block: block.place)
def test_what_a_page_shows_is_what_happens(block: Block, tmp_path: Path, environ: dict[str, str]) -> None:
    if block.reason:
        pytest.skip(block.reason)
    folder, environ = stage(block.page, tmp_path / "project"), around(block, environ)
    if "--preload" in block.text or any("import torch" in text for text in scripts(block, folder)):
        pytest.importorskip("torch")
    if block.kind == "sh":
        done = shell(f"set -e\n{block.text}", folder, environ)
        assert done.returncode == 0, done.stdout
        return
    status = 0
    for command, shown in commands(block.text):
        done = shell(f"(exit {status})\n{command}", folder, environ)
        status = done.returncode
        assert agrees(settled(shown, folder), settled(done.stdout, folder)), f"$ {command}{done.stdout[:4000]}"


def test_launches_that_are_mentioned_have_flags_that_exist() -> None:
    """Those in running text and tables, which aren't run; `…` and the like stand for something there."""
    found = 0
    for page in PAGES:
        for words in re.findall(r"`(?:accelerate|accel) launch ([^`…]+)`", page.read_text()):
            found += 1
            typed = split(CATALOGUE, shlex.split(words))
            assert not any(word.startswith("-") for word in typed.script[:1]), f"{page.name}: {words}"
    assert found > 15


def test_pages_are_read_whole() -> None:
    """No fence is overlooked: each opens and closes a block that is known."""
    for page in PAGES:
        fences = re.findall(r"^ *```.*$", page.read_text(), flags=re.MULTILINE)
        assert len(fences) == 2 * len(blocks(page)), page
        assert "\n    $ " not in page.read_text(), f"{page.name}: commands stand in blocks of kind console"


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("a\n...\nb\n", "a\nx\ny\nb\n", True),
        ("a\n...\nb\n", "a\nb\n", True),
        ("a ... c\n", "a b c\n", True),
        ("a ... c\n", "a b\nc\n", False),
        ("a\n...\nb\n", "x\na\nb\n", False),
        ("", "a\n", False),
        ("took 1.5 s, pid 7\n", "took 12.25 s, pid 4711\n", True),
        ("took 1.5 s, rank 7\n", "took 1.5 s, rank 8\n", False),
        ("at: /home/me/x.py:3\n", "at: /tmp/1/x.py:3\n", True),
        ("at: /home/me/x.py:3\n", "at: /tmp/2/x.py:3\n", False),
    ],
)
def test_the_comparison(shown: str, printed: str, same: bool) -> None:
    folder = Path("/tmp/1")
    assert agrees(settled(shown, folder), settled(printed, folder)) is same
