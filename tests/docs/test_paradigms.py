"""The pages on paradigms: their files are read, their commands are run, and their output is what comes out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from accel_launch import cli
from accel_launch.machine.host import Host
from tests.conftest import ROOT
from tests.launch.hosts import Still, host

DOCS = ROOT / "docs"
EVERYTHING = Still(modules=("torch", "megatron", "torchao", "transformer_engine"))
# Each page, and the machine that its output is from.
PAGES = {
    "multi-gpu.md": host(4),
    "fsdp.md": host(4),
    "megatron.md": host(4),
    "fp8.md": host(4),
    "compile.md": host(1),
    "parallelism.md": host(4),
    "cpu.md": host(0),
}
FILE = re.compile(r"^```yaml title=(\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
RUN = re.compile(r"^```console\n\$ accelerate launch (.*?)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES)
def test_the_pages_commands_print_what_it_says(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a difference the page is rewritten: look at the diff, and commit it if it is meant."""
    machine = PAGES[page].replace(cwd=str(tmp_path), python="python", probe=EVERYTHING)
    monkeypatch.setattr(Host, "here", classmethod(lambda _cls: machine))
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").touch()
    text = (DOCS / page).read_text()
    files = FILE.findall(text)
    assert files
    for name, content in files:
        (tmp_path / name).write_text(content)

    def run(found: re.Match[str]) -> str:
        status = cli.main(found[1].split(), "accelerate launch")
        out, err = capsys.readouterr()
        assert status == (2 if err else 0)
        return f"```console\n$ accelerate launch {found[1]}\n{out}{err}```"

    assert all(any(name in command for command, _ in RUN.findall(text)) for name, _ in files)
    new = RUN.sub(run, text)
    if new != text:
        (DOCS / page).write_text(new)
    assert new == text, f"what docs/{page} shows has changed; the page has been rewritten"


def test_differences_name_every_fault() -> None:
    """Every row of the page on differences says what the existing command does, what ours does, and why."""
    rows = [line for line in (DOCS / "differences.md").read_text().splitlines() if line.startswith("| ")]
    assert len(rows) > 50
    assert {line.count("|") for line in rows} == {4}
    assert all(cell.strip() for line in rows for cell in line.split("|")[1:-1])
