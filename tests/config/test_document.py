"""A document's shape and bounds, and a fuzz over config files as people mutilate them."""

from __future__ import annotations

import random
import time

import pytest

from accel_config import CATALOGUE, SettingError
from accel_config.reading.composer import DEEPEST, MOST_NODES
from accel_config.reading.document import compose
from accel_config.reading.files import Read, parse

SLOWEST = 1.0  # seconds for any text at all


def read(content: bytes, path: str = "c.yaml") -> Read | str:
    """What a file says, or why it can't be read; never anything else, and never slowly."""
    began = time.process_time()
    try:
        return parse(CATALOGUE, content, path)
    except SettingError as error:
        return str(error)
    finally:
        assert time.process_time() - began < SLOWEST


def test_nodes_know_their_places() -> None:
    text = "é: 'ü' # c\r\nb:   # nothing\r\nc:\r\n- x\r\n- yy\r\n\r\n# tail\r\nd: {k: 1}\r\n"
    root = compose(text.encode(), "c.yaml")
    assert root is not None
    assert [text[node.start : node.end] for _key, node in root.pairs()] == ["'ü'", "", "- x\r\n- yy", "{k: 1}"]
    assert [node.line for _key, node in root.pairs()] == [1, 2, 4, 8]


def test_an_alias_and_a_merge_say_that_they_are_written_elsewhere() -> None:
    root = compose(b"a: &x {k: 1, l: 2}\nb: *x\nc:\n  <<: *x\n  l: 3\nd:\n  <<: [*x, {m: 4}]\n", "c.yaml")
    assert root is not None
    nodes = {str(key.value): node for key, node in root.pairs()}
    assert (nodes["a"].alias, nodes["b"].alias) == (False, True)
    assert nodes["c"].plain() == {"k": "1", "l": "3"}
    assert [key.alias for key, _node in nodes["c"].pairs()] == [True, False]
    assert nodes["d"].plain() == {"k": "1", "l": "2", "m": "4"}


def test_types_are_those_of_yaml() -> None:
    root = compose(b"a: [1, '1', 1.5, no, ~, x, 2024-13-45, {b: 0x10}]", "c.yaml")
    assert root is not None
    assert root.typed() == {"a": [1, "1", 1.5, False, None, "x", "2024-13-45", {"b": 16}]}


@pytest.mark.parametrize("escaped", [r"\ud83d\ude00", r"\\ud83d", r"é\n\t"])
def test_json_strings_are_read_as_json_reads_them(escaped: str) -> None:
    import json

    found = read(f'{{"base_job_name": "{escaped}"}}'.encode(), "c.json")
    assert isinstance(found, Read)
    assert found.values["base_job_name"].value == json.loads(f'"{escaped}"')


# Each of these ended the process, or held it for minutes, in one reader or another.
HOSTILE = {
    "nested lists in brackets": b"a: " + b"[" * 300_000,
    "nested mappings in braces": b"a: " + b"{x: " * 100_000,
    "nested lists in lines": b"- " * 400_000,
    "nested keys": b"? " * 400_000,
    "nested json": b'{"a":' * 100_000,
    "many keys": b"".join(b"mixed_precisio%d: 1\n" % place for place in range(40_000)),
    "many nested keys": b"fsdp_config:\n" + b"".join(b"  fsdp_versio%d: 1\n" % place for place in range(4_000)),
    "many items": b"gpu_ids: [" + b"1," * 400_000 + b"]",
    "a number of many digits": b'{"num_processes": ' + b"9" * 100_000 + b"}",
    "a huge exponent": b"num_processes: 1e999999999",
    "a long key": b"x" * 900_000 + b": 1",
    "a long choice": b"mixed_precision: " + b"y" * 900_000,
    "an endless quote": b"a: '" + b"x\n" * 400_000,
    "its own content": b"fsdp_config: &a\n  x: *a\n",
    "merged into itself": b"fsdp_config: &a\n  <<: *a\n",
    "an alias bomb": b"a: &a [x,x,x,x,x,x,x,x,x]\n"
    + b"".join(
        b"%c: &%c [%s]\n" % (new, new, b",".join([b"*%c" % old] * 9))
        for old, new in zip(b"abcdefghi", b"bcdefghij", strict=True)
    ),
    "a merge bomb": b"a: &a {k: 1}\n"
    + b"".join(b"%c: &%c {<<: [%s]}\n" % (new, new, b",".join([b"*%c" % old] * 99)) for old, new in zip(b"abcdefgh", b"bcdefghi", strict=True)),
    "code": b"a: !!python/object/apply:os.system [echo]",
    "a picture": bytes(range(256)) * 100,
    "null bytes": b"use_cpu: \0",
    "two documents": b"use_cpu: no\n---\nuse_cpu: no\n",
    "a list": b"- use_cpu\n",
    "text": b"use_cpu",
}  # fmt: skip


@pytest.mark.parametrize("path", ["c.yaml", "c.json"])
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_at_once_naming_its_line(name: str, path: str) -> None:
    found = read(HOSTILE[name], path)
    said = found if isinstance(found, str) else "\n".join(map(str, (*found.problems, *found.notes)))
    assert said.startswith(f"{path}:"), said
    assert said.split(":")[1].isdecimal(), said


def test_the_bounds_are_far_beyond_any_config() -> None:
    assert isinstance(read(b"additional_args: " + b"{x: " * (DEEPEST - 5) + b"1" + b"}" * (DEEPEST - 5)), Read)
    assert isinstance(read(b"additional_args: [" + b"1," * (MOST_NODES // 2) + b"]"), Read)


YAML_SEED = b"""\
compute_environment: LOCAL_MACHINE
distributed_type: FSDP # three
fsdp_config:
  fsdp_version: 2
  fsdp_state_dict_type: SHARDED_STATE_DICT
mixed_precision: 'no'
num_processes: 4
gpu_ids: 0,1
commands:
- a
- b
tpu_env: []
main_process_port: 29500
"""
OLD_SEED = b"\xef\xbb\xbffp16: true\r\ndynamo_backend: INDUCTOR\r\ndeepspeed_config: {zero_stage: 3}\r\n"
JSON_SEED = b'{\n  "num_processes": 2,\n  "fp8_config": {"backend": "TE", "margin": 0}\n}\n'
SEEDS = (YAML_SEED, OLD_SEED, JSON_SEED)
SPICE = (
    b"\n", b"\r", b"\t", b" ", b":", b"- ", b"? ", b"#", b"[", b"]", b"{", b"}", b"&a ", b"*a", b"!!set ", b"!x ", b"|", b">", b"'", b'"',
    b"%", b"@", b"`", b",", b"<<: *a\n", b"---\n", b"...\n", b"\0", b"\xff", b"\xe2\x80\xa8", b"~", b"null", b"1e9", b"-1", b"0x1f", b"\\u",
)  # fmt: skip


def mutated(chance: random.Random) -> bytes:
    """A config file after some accidents: bytes lost, doubled, replaced, moved, spiced."""
    content = bytearray(chance.choice(SEEDS))
    for _accident in range(chance.randint(1, 4)):
        place, other = sorted(chance.randrange(len(content) + 1) for _ in range(2))
        match chance.randrange(5):
            case 0:
                del content[place : min(other, place + 8)]
            case 1:
                content[place:place] = chance.choice(SPICE) * chance.choice((1, 1, 1, 60))
            case 2:
                content[place:place] = content[other : other + 40]
            case 3:
                content[place:other] = reversed(content[place:other])
            case _:
                content[place:place] = bytes([chance.randrange(256)])
    return bytes(content)


@pytest.mark.exhaustive
def test_no_mutation_of_a_file_gives_anything_but_values_or_a_message() -> None:
    outcomes = {"read": 0, "problems": 0, "refused": 0}
    for seed in range(6_000):
        content = mutated(random.Random(seed))
        path = "c.json" if seed % 3 == 0 else "c.yaml"
        found = read(content, path)
        if isinstance(found, str):
            assert found.startswith(f"{path}:"), (seed, found)
            outcomes["refused"] += 1
        else:
            assert all(problem.line >= 1 for problem in found.problems), seed
            outcomes["problems" if found.problems else "read"] += 1
    assert all(count > 50 for count in outcomes.values()), outcomes  # the mutations reach every outcome
