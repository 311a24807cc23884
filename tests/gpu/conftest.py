"""What the tests of checks share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.gpu import machine


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> machine.Bench:
    """A machine with the driver of one H100; what it runs is answered by `machine.answers`."""
    return machine.one(tmp_path, monkeypatch)
