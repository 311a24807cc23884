"""What engines share: hostfiles, and the shell that sets torch's variables."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from accel_launch.engines.common.hostfile import ListedHost, parse
from accel_launch.engines.common.wrapping import with_torch_variables

ODD = ["a b", "", "$HOME", '"q"', "it's", "back\\slash", "--", "-n", "*", "ü", "two\nlines", ";", "%h"]
SHOW = "import json, os, sys; print(json.dumps([os.environ.get('RANK'), sys.argv[1:]]))"


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("a slots=4\nb slots=2 max_slots=8\n", [("a", 4), ("b", 2)]),
        ("# all of them\n\na:4  # fast\nb\n", [("a", 4), ("b", None)]),
        ("", []),
        ("# nothing\n", []),
    ],
)
def test_hostfiles_of_both_kinds(text: str, hosts: list[tuple[str, int | None]]) -> None:
    assert parse(text) == tuple(ListedHost(*host) for host in hosts)


@pytest.mark.parametrize("words", [ODD, [*ODD, ":"]], ids=["words", "with-a-colon"])
@pytest.mark.parametrize("names", [{"RANK": "OWN"}, {}], ids=["named", "unnamed"])
def test_the_shell_passes_every_byte_on(words: list[str], names: dict[str, str]) -> None:
    command = with_torch_variables(names, [sys.executable, "-c", SHOW, *words])
    assert ":" not in command  # it would divide the command for mpirun and srun
    done = subprocess.run(command, env={"OWN": "3"}, capture_output=True, text=True, check=True, timeout=30)
    assert json.loads(done.stdout) == ["3" if names else None, words]


def test_the_shell_names_a_variable_that_is_unset() -> None:
    done = subprocess.run(
        with_torch_variables({"RANK": "OWN"}, ["true"]), env={}, capture_output=True, text=True, timeout=30
    )
    assert done.returncode != 0
    assert "OWN" in done.stderr
