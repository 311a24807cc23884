"""`set` changes one value: every other byte stays, and what was set is what is read."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accel_config import CATALOGUE, AccelError
from accel_config.reading.files import parse
from accel_config.settings.declaration import Setting
from accel_config.settings.readers import MOST_DIGITS, Duration
from accel_config.settings.span import Span
from accel_config.writing.edit import assign
from accel_config.writing.spelling import plain, scalar

WRITABLE = [one for one in CATALOGUE.settings if one.key and not one.deprecated]


def edited(text: str, name: str, value: object, path: str = "c.yaml") -> str:
    return assign(text.encode(), path, CATALOGUE.named(name), value).decode()


@pytest.mark.parametrize(
    ("text", "name", "value", "expected"),
    [
        ("use_cpu: no # c\n", "use_cpu", True, "use_cpu: true # c\n"),
        ("use_cpu:  # c\n", "use_cpu", True, "use_cpu: true  # c\n"),
        ("use_cpu:\n", "use_cpu", True, "use_cpu: true\n"),
        ("use_cpu: no", "debug", True, "use_cpu: no\ndebug: true\n"),
        ("use_cpu: no\r\n# t\r\n", "debug", True, "use_cpu: no\r\ndebug: true\r\n# t\r\n"),
        ("\ufeffuse_cpu: no\n", "use_cpu", True, "\ufeffuse_cpu: true\n"),
        ("", "use_cpu", True, "use_cpu: true\n"),
        ("# only this", "use_cpu", True, "# only this\nuse_cpu: true\n"),
        ("---\nuse_cpu: no\n...\n", "debug", True, "---\nuse_cpu: no\ndebug: true\n...\n"),
        ("{use_cpu: no}\n", "debug", True, "{use_cpu: no, debug: true}\n"),
        ("{}\n", "debug", True, "{debug: true}\n"),
        ("additional_args:\n  a: 1\n", "additional_args", {"a": 1}, "additional_args:\n  a: 1\n"),
        ("gpu_ids: 0\n", "gpu_ids", "1,2", "gpu_ids: '1,2'\n"),
        ("mixed_precision: bf16\n", "mixed_precision", "no", "mixed_precision: 'no'\n"),
        ("commands: # c\n- a\n- b\n\n# t\n", "commands", ["x, y"], "commands: ['x, y'] # c\n\n# t\n"),
        (
            "base_job_name: |\n  a\n  b\n\n# t\ndebug: no\n",
            "base_job_name",
            "x",
            "base_job_name: x\n\n# t\ndebug: no\n",
        ),
        ("base_job_name: >\n  a\n\n# t\n", "debug", True, "base_job_name: >\n  a\ndebug: true\n\n# t\n"),
        ("base_job_name: x\n", "base_job_name", "a\nb", 'base_job_name: "a\\nb"\n'),
        # nested
        ("fsdp_config:\n   # i\n   version: 1 # v\n", "fsdp_version", 2, "fsdp_config:\n   # i\n   version: 2 # v\n"),
        (
            "fsdp_config:\n    version: 1 # v\n\n# t\n",
            "fsdp_offload_params",
            True,
            "fsdp_config:\n    version: 1 # v\n    fsdp_offload_params: true\n\n# t\n",
        ),
        ("fsdp_config: {}\n", "fsdp_version", 2, "fsdp_config: {fsdp_version: 2}\n"),
        ("fsdp_config:\n", "fsdp_version", 2, "fsdp_config: {fsdp_version: 2}\n"),
        ("fsdp_config: null # c\n", "fsdp_version", 2, "fsdp_config: {fsdp_version: 2} # c\n"),
        ("use_cpu: no\n", "fsdp_version", 2, "use_cpu: no\nfsdp_config:\n  fsdp_version: 2\n"),
        ("deepspeed_config:\n  zero_stage: 2\n", "zero_stage", 3, "deepspeed_config:\n  zero_stage: 3\n"),
        # anchors and merges
        ("use_cpu: &a no\ndebug: *a\n", "debug", True, "use_cpu: &a no\ndebug: true\n"),
        (
            "fsdp_config:\n  x: 1\n  <<: {version: 1}\n",
            "fsdp_version",
            2,
            "fsdp_config:\n  x: 1\n  fsdp_version: 2\n  <<: {version: 1}\n",
        ),
    ],
)
def test_yaml(text: str, name: str, value: object, expected: str) -> None:
    assert edited(text, name, value) == expected


@pytest.mark.parametrize(
    ("text", "name", "value", "expected"),
    [
        ('{"use_cpu":true}', "use_cpu", False, '{"use_cpu":false}'),
        ("{}", "use_cpu", False, '{"use_cpu": false}'),
        ("", "use_cpu", False, '{\n  "use_cpu": false\n}\n'),
        ('{\n\t"a": 1\n}\n'.replace("a", "num_machines"), "debug", True, '{\n\t"num_machines": 1,\n\t"debug": true\n}\n'),
        ('{\n  "debug": true\n}\n', "fsdp_version", 2, '{\n  "debug": true,\n  "fsdp_config": {"fsdp_version": 2}\n}\n'),
        ('{"fsdp_config": null}', "fsdp_version", 2, '{"fsdp_config": {"fsdp_version": 2}}'),
    ],
)  # fmt: skip
def test_json(text: str, name: str, value: object, expected: str) -> None:
    found = edited(text, name, value, "c.json")
    assert found == expected
    json.loads(found)


@pytest.mark.parametrize(
    ("text", "name", "why"),
    [
        ("use_cpu: &a no\ndebug: *a\n", "use_cpu", "without changing another key"),
        ("a: &a {version: 1}\nfsdp_config: *a\n", "fsdp_version", "is an alias"),
        ("fsdp_config: 3\n", "fsdp_version", "must be a mapping"),
        ("use_cpu: no\nuse_cpu: yes\n", "use_cpu", "is given twice"),
        ("fsdp_config: {version: 1, fsdp_version: 1}\n", "fsdp_version", "is given twice"),
        ("<<: {use_cpu: no}\n", "debug", "merged in"),
        ("- a\n", "debug", "a mapping of settings"),
    ],
)
def test_what_cant_be_spliced_is_refused(text: str, name: str, why: str) -> None:
    with pytest.raises(AccelError, match=why):
        edited(text, name, 2 if name == "fsdp_version" else True)


@pytest.mark.parametrize(
    "name",
    [
        r"\ud83d\ude00 \uD83D\uDE00",
        r"\\ud83d \u00e9",
        "\x7f\u2028",
        "\U0001f600é",
        r"\ud83d\ude00" + "\x85\u2029\ufeff",
    ],
    ids=["pairs", "no pair", "not for YAML", "characters", "all"],
)
@pytest.mark.parametrize("key", ["debug", "num_processes", "fsdp_version"])
def test_json_keeps_characters_and_escapes_that_yaml_has_not(name: str, key: str) -> None:
    text = '{"base_job_name": "NAME",\n\t"debug": 1, "num_processes": 4, "fsdp_config": {"fsdp_version": 1}}'
    text = text.replace("NAME", name)
    old = {"debug": "1", "num_processes": "4", "fsdp_version": "1"}[key]
    new = "true" if key == "debug" else "2"
    expected = text.replace(f'"{key}": {old}', f'"{key}": {new}')
    assert edited(text, key, json.loads(new), "c.json") == expected
    assert parse(CATALOGUE, expected.encode(), "c.json").values["base_job_name"].value == json.loads(f'"{name}"')


def test_half_a_pair_in_json_is_refused() -> None:
    with pytest.raises(AccelError, match=r"c\.json:2: "):
        edited('{\n"base_job_name": "\\ud83d x"}', "debug", True, "c.json")


# Any value that a setting may have, in the types of a file.
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda text: text.strip() == text)


def values(one: Setting) -> st.SearchStrategy[Any]:
    if one.kind is dict:
        return st.dictionaries(TEXTS, st.integers() | TEXTS | st.booleans() | st.lists(TEXTS), max_size=3)
    if one.many and one.default:
        return st.lists(st.booleans(), min_size=len(one.default), max_size=len(one.default))
    if one.choices:
        return st.sampled_from([plain(one, (choice,) if one.many else choice) for choice in one.choices])
    low = None if one.minimum is None else int(one.minimum)
    high = None if one.maximum is None else int(one.maximum)
    most = 10**MOST_DIGITS - 1
    kinds: dict[type, st.SearchStrategy[Any]] = {
        bool: st.booleans(),
        int: st.integers(-most if low is None else low, most if high is None else high),
        Duration: st.sampled_from([5, (low or 0) + 0.5, "10m", "1h30m"]),
        Span: st.tuples(st.integers(1, 9), st.integers(9, 99)).map(lambda pair: Span.of(*pair).plain),
        float: st.floats(low, high, allow_nan=False, allow_infinity=False),
        str: TEXTS.filter(lambda text: text.lower() not in one.unset),
    }
    single = kinds[one.kind]
    if one.pairs:
        single = single.map(lambda text: f"NAME={text}")
    return st.lists(single, max_size=3) if one.many else single


def comments(draw: st.DrawFn) -> str:
    return draw(st.sampled_from(["", "", " # a comment", "  #!"]))


@st.composite
def files(draw: st.DrawFn) -> tuple[str, str]:
    """A path and a file of the kinds that people have: comments, blanks, both line ends, flow and block, JSON."""
    ours = draw(st.lists(st.sampled_from(WRITABLE), max_size=8, unique_by=lambda one: one.key))
    content: dict[str, Any] = {}
    for one in ours:
        mapping, _dot, own = str(one.key).rpartition(".")
        (content.setdefault(mapping, {}) if mapping else content)[own] = draw(values(one))
    if draw(st.integers(0, 3)) == 0:
        indent, ascii_only = draw(st.sampled_from([None, 2, "\t"])), draw(st.booleans())
        return "c.json", json.dumps(content, indent=indent, ensure_ascii=ascii_only)

    lines: list[str] = []
    for key, value in content.items():
        lines += draw(st.lists(st.sampled_from(["", "# between", "   # indented"]), max_size=2))
        if isinstance(value, dict) and value and draw(st.booleans()) and key in CATALOGUE.mappings:
            indent = " " * draw(st.integers(1, 4))
            lines.append(f"{key}:{comments(draw)}")
            lines += [f"{indent}{own}: {scalar(inner, 'c.yaml')}{comments(draw)}" for own, inner in value.items()]
        else:
            lines.append(f"{key}: {scalar(value, 'c.yaml')}{comments(draw)}")
    lines += draw(st.lists(st.sampled_from(["", "# the end"]), max_size=2))
    newline = draw(st.sampled_from(["\n", "\r\n"]))
    return "c.yaml", newline.join(lines) + draw(st.sampled_from(["", newline]))


@given(files(), st.data())
def test_set_is_read_back_and_leaves_every_other_byte(file: tuple[str, str], data: st.DataObject) -> None:
    path, text = file
    before = parse(CATALOGUE, text.encode(), path)
    assert not before.problems, before.problems
    one = data.draw(st.sampled_from(WRITABLE))
    value = data.draw(values(one))
    after_text = edited(text, one.name, value, path)
    after = parse(CATALOGUE, after_text.encode(), path)
    assert not after.problems, after.problems
    expected = {name: found.value for name, found in before.values.items() if name != one.name}
    assert {name: found.value for name, found in after.values.items() if name != one.name} == expected
    read = after.values[one.name].value
    assert plain(one, read) == value
    # What was there stands around one place, and nothing of it is lost but the old value.
    start = next(
        (n for n, (a, b) in enumerate(zip(text, after_text, strict=False)) if a != b), min(len(text), len(after_text))
    )
    end = next(
        (n for n, (a, b) in enumerate(zip(text[start:][::-1], after_text[start:][::-1], strict=False)) if a != b),
        min(len(text), len(after_text)) - start,
    )
    lost = text[start : len(text) - end]
    assert "\n" not in lost or one.name in before.values, lost
    assert one.name in before.values or not lost, lost


@given(files())
def test_setting_what_a_file_says_already_changes_nothing_that_is_read(file: tuple[str, str]) -> None:
    path, text = file
    before = parse(CATALOGUE, text.encode(), path)
    for name, found in before.values.items():
        value = plain(CATALOGUE.by_name[name], found.value)
        again = parse(CATALOGUE, edited(text, name, value, path).encode(), path)
        assert {key: one.value for key, one in again.values.items()} == {k: v.value for k, v in before.values.items()}
