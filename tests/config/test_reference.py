"""The page of settings is current."""

from __future__ import annotations

from accel_config import CATALOGUE
from accel_config.showing.help import text
from accel_config.showing.reference import page
from tests.conftest import ROOT


def test_the_page_is_current() -> None:
    path = ROOT / "docs" / "reference.md"
    before = path.read_text() if path.exists() else ""
    path.write_text(page(CATALOGUE))
    assert before == page(CATALOGUE), f"{path} was out of date; it is made anew, look at it and commit it"


def test_every_setting_is_on_it() -> None:
    whole = page(CATALOGUE)
    for one in CATALOGUE.settings:
        assert f"`--{one.name}`" in whole or f"`{one.key}`" in whole
        assert all(f"`{name}`" in whole for name in one.env)


def test_help_and_reference_name_every_other_name_of_a_flag() -> None:
    others = [(one, alias) for one in CATALOGUE.settings for alias in one.aliases]
    assert ("fsdp_backward_prefetch", "--fsdp_backward_prefetch_policy") in [
        (one.name, alias) for one, alias in others
    ]
    for one, alias in others:
        assert alias in one.help
        assert alias in page(CATALOGUE)
        assert alias in text(CATALOGUE, "accelerate launch", one.name, 100)
