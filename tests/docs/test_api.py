"""The page of the Python API is current, and nothing on it is unexplained."""

from __future__ import annotations

import pytest

from tests.conftest import ROOT
from tests.docs.api import PACKAGES, exported, fields, load, methods, page, properties, text


def test_the_page_is_current() -> None:
    """On a difference the new page is left in place: look at the diff, and commit it."""
    path, new = ROOT / "docs" / "api.md", page()
    before = path.read_text() if path.exists() else ""
    path.write_text(new)
    assert before == new, f"{path} was out of date; it is made anew, look at it and commit it"


@pytest.mark.parametrize("name", PACKAGES)
def test_every_public_name_and_field_is_explained(name: str) -> None:
    silent: list[str] = []
    for public, one in exported(load()[name]):
        silent += [] if text(one) else [public]
        if one.is_class:
            parts = [*fields(one), *properties(one), *methods(one)]
            silent += [f"{public}.{part.name}" for part in parts if not text(part)]
    assert not silent, f"no docstring: {', '.join(silent)}"
