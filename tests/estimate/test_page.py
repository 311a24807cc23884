"""The page of a sweep: self-contained, true to its numbers, and safe against names."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from accel_estimate import Ask, Recipe, Serving, estimate, load
from accel_estimate.answer.frontier import Line
from accel_estimate.cli import main
from accel_estimate.estimation import sweep
from accel_estimate.showing import frontier, page


def rendered(llama: Path, device: str | None = "3GiB", name: str | None = None) -> tuple[str, sweep.Sweep]:
    model = load(str(llama))
    done = sweep.run(
        model.replace(name=name or model.name), Ask(training=Recipe(), device=device), "batch_size", (1, 8, 64)
    )
    return page.render(done), done


SINGLE = ("meta", "line", "rect", "circle", "polyline", "br")

Tag = tuple[str, dict[str, str]]


class Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[Tag] = []
        self.drawings: list[list[Tag]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = tag, {name: value or "" for name, value in attrs}
        self.seen.append(found)
        if tag == "svg":
            self.drawings.append([])
        if "svg" in (*self.open, tag):
            self.drawings[-1].append(found)
        if tag not in SINGLE:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in SINGLE:
            assert self.open.pop() == tag

    def charts(self, kind: str, tag: str) -> list[list[dict[str, str]]]:
        """Return the tags of each drawing of a kind that has such tags."""
        those = ([attrs for name, attrs in it if name == tag] for it in self.drawings if it[0][1]["class"] == kind)
        return [it for it in those if it]


def test_nothing_comes_from_elsewhere_and_every_tag_closes(llama: Path) -> None:
    text, _ = rendered(llama)
    tags = Tags(text)
    assert tags.open == []
    assert not {tag for tag, _ in tags.seen} & {"script", "link", "img", "iframe", "object"}
    assert "http" not in text
    assert "url(" not in text


def test_bars_are_as_long_as_their_bytes(llama: Path) -> None:
    text, done = rendered(llama)
    tags = Tags(text)
    parts = [
        amount
        for point in done.points
        for name, amount in point.parts.items()
        if any(p.parts[name] for p in done.points)
    ]
    for kind, left in (("for-wide", 110), ("for-phones", 66)):
        (bars,) = tags.charts(kind, "rect")
        widths = [float(attrs["width"]) for attrs in bars]
        scale = sum(widths) / sum(parts)
        assert widths == pytest.approx([amount * scale for amount in parts], abs=0.2)
        lines = [attrs for drawn in tags.charts(kind, "line") for attrs in drawn]
        limit = next(attrs for attrs in lines if attrs["class"] == "limit")
        assert float(limit["x1"]) == pytest.approx(left + 3 * 2**30 * scale, abs=1)


def test_every_point_is_in_the_table(llama: Path) -> None:
    text, done = rendered(llama)
    rows = re.findall(r"<tr>(.*?)</tr>", text.rpartition("<table>")[2])
    assert len(rows) == 1 + len(done.points)
    assert rows[-1].endswith('<td class="no">no</td>')
    assert "fits" not in rendered(llama, device=None)[0]


def test_a_hostile_name_is_only_text(llama: Path) -> None:
    text, _ = rendered(llama, name="<script>alert(1)</script>")
    assert "<script>" not in text


def test_serving_has_a_page_too(llama: Path) -> None:
    done = sweep.run(load(str(llama)), Ask(serving=Serving()), "context_len", (128, 256))
    assert "cache" in page.render(done)


def test_the_conclusion_comes_first(llama: Path) -> None:
    def first(device: str | None) -> str:
        return rendered(llama, device)[0].partition("</h1>")[2].lstrip()

    assert first("4GiB").startswith(
        '<p class="conclusion no">batch_size 1, 8 fit 4.00 GiB. batch_size 64 doesn&#x27;t fit: 64 needs '
    )
    assert first("h100").startswith('<p class="conclusion">batch_size 1, 8, 64 fit h100: 79.10 GiB.')
    assert first("1MiB").startswith('<p class="conclusion no">batch_size 1, 8, 64 don&#x27;t fit 1.00 MiB: 1 needs ')
    assert first(None).startswith('<p class="conclusion">Each device needs ')


@pytest.mark.parametrize(
    "ask", [Ask(training=Recipe(batch_size=640), device="2x3GiB"), Ask(serving=Serving(), device="3GiB")]
)
def test_the_frontier_is_the_last_batch_that_fits(llama: Path, ask: Ask) -> None:
    model = load(str(llama))
    report = estimate(model, ask)
    assert report.fit is not None
    text = page.of_report(report, ask)
    tags = Tags(text)
    assert tags.open == []
    (wide,), (narrow,) = tags.charts("for-wide", "circle"), tags.charts("for-phones", "circle")
    points = re.findall(r"<title>([^<:]+): batch ([0-9,]+) of ([0-9,]+) tokens</title>", text)
    assert len(points) == 2 * len(wide) == 2 * len(narrow)
    assert max(int(length) for _, _, length in points) == 512  # the model's own limit
    name = "the answer" if ask.training else "weights as stored"
    batch, length = next((int(b.replace(",", "")), int(n)) for kind, b, n in points if kind == name)
    for sequences, fits in ((batch, True), (batch + 1, False)):
        if report.fit.answer is not None:
            recipe = report.fit.answer.settings.replace(batch_size=sequences, seq_len=length)
            found = estimate(model, ask.replace(training=recipe, answer=False)).fit
        else:
            found = estimate(model, ask.replace(serving=Serving(length, sequences), answer=False)).fit
        assert found is not None
        assert (found.fits and not found.barely) is fits


def test_one_sequence_is_on_the_frontier_and_none_is_not() -> None:
    text = frontier.render(
        [Line("ddp", ((512, 2), (1024, 1), (2048, 0))), Line("fsdp2", ((512, 0), (1024, 0), (2048, 0)))]
    )
    found = re.findall(r"<title>([^<]*)</title>", text)
    assert found == ["ddp: batch 2 of 512 tokens", "ddp: batch 1 of 1,024 tokens"] * 2
    assert text.count("<polyline") == 2
    assert text.count('<td class="no">no</td>') == 4


def test_a_phone_gets_drawings_of_its_width_and_tables_that_scroll(llama: Path) -> None:
    text, _ = rendered(llama)
    tags = Tags(text)
    assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in tags.seen
    widths = [(it[0][1]["class"], it[0][1]["viewbox"].split()[2]) for it in tags.drawings]
    assert widths == [("for-wide", "960"), ("for-phones", "360")] * 2
    small = text.partition("@media (max-width: 640px)")[2]
    assert "svg.for-wide { display: none; }" in small
    assert "svg.for-phones { display: block; }" in small
    assert text.count('<div class="wide"><table>') == text.count("<table>") == 2
    for drawing in tags.drawings:
        width = float(drawing[0][1]["viewbox"].split()[2])
        assert all(0 <= float(attrs["x"]) <= width for tag, attrs in drawing if tag in ("text", "rect"))


def test_nothing_fits_and_nothing_is_drawn(llama: Path) -> None:
    ask = Ask(training=Recipe(), device="1MiB")
    assert "Not one sequence fits" in page.of_report(estimate(load(str(llama)), ask), ask)


def test_the_file_is_written_or_named(llama: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "sweep.html"
    assert main([str(llama), "--training", "--sweep", "seq_len=64,128", "--html", str(file)]) == 0
    assert file.read_text().startswith("<!DOCTYPE html>")
    capsys.readouterr()
    assert main([str(llama), "--training", "--sweep", "seq_len=64", "--html", str(file / "x.html")]) == 1
    assert "can't be written" in capsys.readouterr().err


def test_a_file_that_is_there_is_replaced_as_a_whole(llama: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pages"
    folder.mkdir()
    (folder / "old.html").write_text("old")
    (folder / "sweep.html").hardlink_to(folder / "old.html")
    (folder / "link.html").symlink_to("sweep.html")
    assert main([str(llama), "--training", "--sweep", "seq_len=64", "--html", str(folder / "link.html")]) == 0
    assert sorted(path.name for path in folder.iterdir()) == ["link.html", "old.html", "sweep.html"]
    assert ((folder / "old.html").read_text(), (folder / "link.html").is_symlink()) == ("old", True)
    assert (folder / "sweep.html").read_text().startswith("<!DOCTYPE html>")
    assert main([str(llama), "--training", "--sweep", "seq_len=64", "--html", "/dev/null"]) == 0
    assert Path("/dev/null").is_char_device()
