"""Random files: reading, checking, changing and updating one raises nothing but our own error, and keeps the rest."""

from __future__ import annotations

import random
import string

import pytest

from accel_cli.commands.fsdp2 import converted
from accel_config import CATALOGUE, AccelError
from accel_config.checking.file import check
from accel_config.reading.files import Read, parse
from accel_config.writing.edit import assign, without
from accel_config.writing.migration import migrated
from tests.fuzzing import fuzz

from .answers import MACHINES
from .test_bad_input import ODD
from .test_files import WILD
from .test_migration import NEW, OLD

SEEDS = [
    OLD,
    NEW,
    *(text for text, _expected in WILD),
    *(one.decode("latin-1") for one in ODD.values() if len(one) < 500),
]
WORDS = [
    *CATALOGUE.by_key,
    *CATALOGUE.mappings,
    "<<",
    "fp16",
    "dynamo_backend",
    "true",
    "no",
    "null",
    "~",
    "0x1f",
    "1:30",
]
PIECES = [": ", ":\n  ", "\n", "\r\n", "\t", " # c\n", "&a ", "*a", "<<: *a", "{", "}", "[", "]", ",", "- ", "? ", "|\n", ">\n", '"', "'", "!!int ", "---\n", "...\n", "\ufeff", "\x00", "\u2028", "\x85", "\\u0000", "%YAML 1.1\n", "é", "😀"]  # fmt: skip
SETTINGS = [one for one in CATALOGUE.settings if one.key and not one.deprecated]


def mutated(chance: random.Random, text: str) -> str:
    """A text with some pieces taken out, doubled, moved or put in."""
    for _change in range(chance.randint(0, 6)):
        start = chance.randint(0, len(text))
        end = min(len(text), start + chance.randint(0, 20))
        place = chance.randint(0, len(text))
        pair = chance.choice(WORDS) + chance.choice(PIECES) + chance.choice(WORDS) + "\n"
        letters = "".join(chance.choices(string.printable, k=3))
        new = chance.choice(["", text[start:end] * 2, chance.choice(WORDS), chance.choice(PIECES), pair, letters])
        text = text[:start] + new + text[end:] if chance.random() < 0.7 else text[:place] + new + text[place:]
    lines = text.splitlines(keepends=True)
    if chance.random() < 0.3:
        chance.shuffle(lines)
    return "".join(lines)


def same(before: Read, after: Read, *, but: frozenset[str]) -> bool:
    """Whether two files have the same values, except for the settings named."""
    kept = {name: value.value for name, value in before.values.items() if name not in but}
    return kept == {name: value.value for name, value in after.values.items() if name not in but}


def one_round(chance: random.Random) -> None:
    text = mutated(chance, chance.choice(SEEDS))
    content = text.encode("utf-8", "surrogatepass")
    path = chance.choice(["c.yaml", "c.yaml", "c.json"])
    try:
        before = parse(CATALOGUE, content, path)
    except AccelError:
        return
    _updated(content, path)
    _changed(chance, content, path, before)
    try:
        new, _lines = converted(content, path)
    except AccelError:
        return
    assert converted(new, path)[0] == new


def _updated(content: bytes, path: str) -> None:
    try:
        new, _lines = migrated(content, path, MACHINES["cpu"])
    except AccelError:
        return
    before, after = parse(CATALOGUE, content, path), parse(CATALOGUE, new, path)
    assert not after.problems
    assert all(
        after.values[name].value == value.value
        for name, value in before.values.items()
        if not CATALOGUE.by_name[name].deprecated
    )
    assert migrated(new, path, MACHINES["cpu"]) == (new, []), "twice is once"


def _changed(chance: random.Random, content: bytes, path: str, before: Read) -> None:
    one = chance.choice(SETTINGS)
    value = {bool: True, int: 3, float: 2.5, dict: {"a": 1}}.get(one.kind, "x")
    if one.choices:
        value = one.choices[-1]
    try:
        new = assign(content, path, one, value)
    except AccelError:
        return
    after = parse(CATALOGUE, new, path)
    assert same(before, after, but=frozenset((one.name,)))
    assert len(after.conflicts) <= len(before.conflicts), "we never write a key twice"
    assert assign(new, path, one, value) == new
    try:
        gone = without(new, path, one)
    except AccelError:
        return
    assert same(after, parse(CATALOGUE, gone, path), but=frozenset((one.name,)))


@pytest.mark.fuzz
def test_files() -> None:
    fuzz(one_round)


@pytest.mark.fuzz
def test_check(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "c.yaml"

    def one_file(chance: random.Random) -> None:
        path.write_text(mutated(chance, chance.choice(SEEDS)), encoding="utf-8", errors="surrogatepass")
        check(CATALOGUE, str(path))

    fuzz(one_file)
