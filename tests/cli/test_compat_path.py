"""When `python -m accelerate.commands.X` is ours, and that nothing else ever sees a module of that name."""

from __future__ import annotations

import sys
from importlib.util import find_spec

import pytest

from accel_cli import _compat_path
from accel_cli._compat_path import requested


@pytest.mark.parametrize(
    ("words", "module"),
    [
        (["-m", "accelerate.commands.env"], "accelerate.commands.env"),
        (["-maccelerate.commands.env"], "accelerate.commands.env"),
        (["-I", "-X", "dev", "-W", "error", "-m", "a.b", "-m", "c"], "a.b"),
        (["-Bm", "a.b"], "a.b"),
        (["-BWerror", "-uma.b"], "a.b"),
        (["-Wm", "-m", "a.b"], "a.b"),
        (["--check-hash-based-pycs", "never", "-m", "a.b"], "a.b"),
        (["x.py", "-m", "accelerate.commands.env"], None),
        (["-c", "pass", "-m", "accelerate.commands.env"], None),
        (["-cpass", "-m", "a.b"], None),
        (["-Bc", "pass", "-m", "a.b"], None),
        (["-", "-m", "a.b"], None),
        (["-m"], None),
        ([], None),
    ],
)
def test_the_module_of_a_command_line(words: list[str], module: str | None) -> None:
    assert requested(["python", *words]) == module


def test_the_stand_in_comes_and_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    assert find_spec("accelerate") is None, "these tests need an environment without Hugging Face's library"
    _compat_path.enter(["python", "x.py", "accelerate.commands.env"])
    _compat_path.enter(["python", "-m", "accelerate.other"])
    assert find_spec("accelerate") is None
    _compat_path.enter(["python", "-m", "accelerate.commands.env"])
    assert find_spec("accelerate.commands.env") is not None
    assert "accelerate" in sys.modules
    _compat_path.leave()
    assert find_spec("accelerate") is None
    assert "accelerate" not in sys.modules
