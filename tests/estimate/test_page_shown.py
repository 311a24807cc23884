"""The page of an estimate, as a browser shows it."""

from __future__ import annotations

from pathlib import Path

import pytest

from accel_estimate.cli import main
from tests.browser import PHONE, Browser, browser

__all__ = ["browser"]

DRAWN = """
const shown = [...document.querySelectorAll("svg")].filter((one) => one.getBoundingClientRect().width > 0);
const inside = (inner, outer) => inner.left >= outer.left - 1 && inner.right <= outer.right + 1;
return {
    kinds: [...new Set(shown.map((one) => one.getAttribute("class")))],
    lines: [...document.querySelectorAll("polyline")].filter((one) => {
        const place = one.getBoundingClientRect();
        return place.width > 100 && place.height > 20 && getComputedStyle(one).stroke !== "none";
    }).length,
    cut: shown.flatMap((one) => [...one.querySelectorAll("text")].filter(
        (text) => !inside(text.getBoundingClientRect(), one.getBoundingClientRect())).map((text) => text.textContent)),
    tiny: shown.flatMap((one) => [...one.querySelectorAll("text")].filter(
        (text) => text.getBoundingClientRect().height < 9).map((text) => text.textContent)),
};
"""
PLACES = "return ['.conclusion', 'svg'].map((each) => document.querySelector(each).getBoundingClientRect().top);"


@pytest.mark.exhaustive
def test_a_page_is_read_on_a_phone_and_on_a_screen(
    llama: Path, tmp_path: Path, browser: Browser, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "page.html"
    far = tmp_path / "experiments-of-this-year" / "language-models" / "with-a-long-path" / "llama-small"
    far.parent.mkdir(parents=True)
    llama = llama.rename(far)
    assert main([str(llama), "--training", "--fits", "3GiB", "--html", str(file)]) in (0, 1)
    said = capsys.readouterr().out
    for width, kind in ((PHONE, "for-phones"), (1000, "for-wide")):
        browser.resize(width)
        browser.open(file.as_uri())
        assert not browser.overflows
        conclusion, drawing = browser.run(PLACES)
        assert conclusion < 200
        assert str(llama) in browser.run("return document.body.textContent;")
        assert conclusion < drawing or drawing == 0  # one that isn't shown
        assert browser.run("return document.querySelector('.conclusion').innerText;").split("\n")[0] in said
        drawn = browser.run(DRAWN)
        assert drawn == {"kinds": [kind], "lines": drawn["lines"], "cut": [], "tiny": []}
        assert drawn["lines"] > 0
    for scheme, light in (("light", True), ("dark", False)):
        browser.prefer(scheme)
        ground = browser.run("return getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number);")
        assert (sum(ground) > 3 * 128) == light
