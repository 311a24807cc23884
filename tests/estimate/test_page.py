"""The page of a sweep: self-contained, true to its numbers, and safe against names."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from accel_estimate import Ask, Recipe, Serving, load
from accel_estimate.cli import main
from accel_estimate.estimation import sweep
from accel_estimate.showing import page


def rendered(llama: Path, device: str | None = "3GiB", name: str | None = None) -> tuple[str, sweep.Sweep]:
    model = load(str(llama))
    done = sweep.run(
        model.replace(name=name or model.name), Ask(training=Recipe(), device=device), "batch_size", (1, 8, 64)
    )
    return page.render(done), done


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in ("meta", "line", "rect"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("line", "rect"):
            assert self.open.pop() == tag


def test_nothing_comes_from_elsewhere_and_every_tag_closes(llama: Path) -> None:
    text, _ = rendered(llama)
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    assert not {tag for tag, _ in tags.seen} & {"script", "link", "img", "iframe", "object"}
    assert "http" not in text
    assert "url(" not in text


def test_bars_are_as_long_as_their_bytes(llama: Path) -> None:
    text, done = rendered(llama)
    tags = Tags()
    tags.feed(text)
    widths = [float(attrs["width"] or 0) for tag, attrs in tags.seen if tag == "rect"]
    parts = [
        amount
        for point in done.points
        for name, amount in point.parts.items()
        if any(p.parts[name] for p in done.points)
    ]
    scale = sum(widths) / sum(parts)
    assert len(widths) == len(parts)
    assert widths == pytest.approx([amount * scale for amount in parts], abs=0.2)
    limit = next(attrs for tag, attrs in tags.seen if tag == "line" and attrs.get("class") == "limit")
    assert float(limit["x1"] or 0) == pytest.approx(110 + 3 * 2**30 * scale, abs=1)


def test_every_point_is_in_the_table(llama: Path) -> None:
    text, done = rendered(llama)
    rows = re.findall(r"<tr>(.*?)</tr>", text)
    assert len(rows) == 1 + len(done.points)
    assert rows[-1].endswith('<td class="no">no</td>')
    assert "fits" not in rendered(llama, device=None)[0]


def test_a_hostile_name_is_only_text(llama: Path) -> None:
    text, _ = rendered(llama, name="<script>alert(1)</script>")
    assert "<script>" not in text


def test_serving_has_a_page_too(llama: Path) -> None:
    done = sweep.run(load(str(llama)), Ask(serving=Serving()), "context_len", (128, 256))
    assert "cache" in page.render(done)


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
