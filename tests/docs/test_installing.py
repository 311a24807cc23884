"""The lines that install us: each is run in a copy of a clone, in an environment that has nothing but pip and uv."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.docs.pages import FRESH, PAGES, blocks
from tests.environments import UV
from tests.installing import Environment, clone

__all__ = ["clone"]

pytestmark = [pytest.mark.timeout(300), pytest.mark.skipif(UV is None, reason="uv isn't on PATH")]
LINES = [block for page in PAGES for block in blocks(page) if block.group == FRESH]
# What an index will have is shown there alone, or after these words.
INDEX = ("docs/install.md", "once released")
NAMED = re.compile(
    r"pip install [^`\n]*?(?<![\w./{,-])[\'\"]?accel-(?:cli|config|launch|estimate|tpu|sagemaker)\b(?!/)"
)
# Links the packages that the named one needs to the clone.
LINKED = "uv pip install ./packages/accel-cli\n"
# Addressed to a machine that has no clone.
ELSEWHERE = {"docs/tpu.md": "a pod's workers"}
INSTALLS = re.compile(r"^(?:uv )?pip ")
# Of lines that differ in packages alone pip takes those of which it has most, and of SageMaker; uv is ten times as fast.
FEWER = re.compile(r"^pip install(?= \./packages/accel-\{\w+,(?:estimate|launch|launch,tpu)\}$)")


def typed() -> dict[str, list[str]]:
    """What installs, without comments, and all lines that a page has after it: several pages begin alike."""
    found: dict[str, list[str]] = {}
    for block in LINES:
        lines = [line.partition(" #")[0].rstrip() for line in block.text.splitlines()]
        after = found.setdefault("\n".join(filter(INSTALLS.match, lines)), [])
        after += [line for line in lines if not INSTALLS.match(line) and line not in after]
    return found


@pytest.mark.exhaustive  # pip takes half a minute to build five packages
@pytest.mark.parametrize(("installs", "after"), typed().items(), ids=typed())
def test_the_lines_work_in_a_fresh_environment(installs: str, after: list[str], clone: Path, tmp_path: Path) -> None:
    installs = FEWER.sub("uv pip install --no-sources", installs)
    check(
        Environment(tmp_path / "env", pip=not installs.startswith("uv ")),
        "\n".join(["set -e", installs, *after]),
        clone,
        tmp_path,
    )


def check(here: Environment, line: str, clone: Path, place: Path) -> None:
    """Type a line in a clone, and look at what it has brought."""
    here.environ["PATH"] = f"{here.bin}:{Path(str(UV)).parent}:/usr/bin:/bin"
    folder = shutil.copytree(clone, place / "clone")
    here.type(line, folder)
    scripts = sorted(here.bin.glob("accel*"))
    assert scripts
    for script in scripts:
        assert "0.1.0" in here.type(f"{script} --version")
    where = here.type(f"{here.bin}/python -P -c 'import accel_config; print(accel_config.__file__)'").strip()
    assert where.startswith(str(folder)) == (LINKED in line), "whether the packages are links into the clone"
    assert not here.has("torch")
    assert here.has("boto3") == ("accel-sagemaker" in {script.name for script in scripts})


def test_there_are_lines_where_somebody_begins() -> None:
    pages = {block.page.relative_to(ROOT).as_posix() for block in LINES}
    assert pages >= {"README.md", "docs/install.md", "docs/migration.md", "docs/sagemaker.md"}
    assert {f"packages/{path.name}/README.md" for path in ROOT.glob("packages/accel-*")} <= pages


def test_no_page_sends_anybody_to_an_index_that_has_nothing() -> None:
    """A stranger may publish something under our names there."""
    for page in PAGES:
        name = page.relative_to(ROOT).as_posix()
        lines = page.read_text().splitlines()
        found = [line for before, line in zip(["", *lines], lines, strict=False) if names_an_index(before, line)]
        assert not found or name in (INDEX[0], *ELSEWHERE), (name, found)


def names_an_index(before: str, line: str) -> bool:
    """Return whether a line says to install us from an index, and neither it nor the one before it says from when on."""
    return bool(NAMED.search(line)) and not any(INDEX[1] in one or "first release" in one for one in (before, line))


def test_the_guard_sees_what_it_looks_for() -> None:
    assert names_an_index("", "pip install accel-cli")
    assert names_an_index("", "Install it with `pip install -U 'accel-launch[fp8]'` first.")
    assert not names_an_index("", "pip install ./packages/accel-{config,launch}")
    assert not names_an_index("", "pip install './packages/accel-launch[fp8]'")
    assert not names_an_index("From an index, once released:", "`pip install accel-cli`")
