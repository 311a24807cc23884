"""The page of settings is current."""

from __future__ import annotations

from accel_config import CATALOGUE
from accel_config.reference import page
from tests.conftest import ROOT


def test_the_page_is_current() -> None:
    path = ROOT / "docs" / "reference.md"
    before = path.read_text() if path.exists() else ""
    path.write_text(page(CATALOGUE))
    assert before == page(CATALOGUE), f"{path} was out of date; it is made anew, look at it and commit it"


def test_every_setting_is_on_it() -> None:
    text = page(CATALOGUE)
    for one in CATALOGUE.settings:
        assert f"`--{one.name}`" in text or f"`{one.key}`" in text
        assert all(f"`{name}`" in text for name in one.env)
