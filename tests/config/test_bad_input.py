"""Whatever a config file or a flag holds: a message or a value, soon, and never a traceback."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path

import pytest

from accel_cli.commands.fsdp2 import converted
from accel_config import CATALOGUE, SettingError
from accel_config.reading.files import parse
from accel_config.writing.edit import assign, without
from accel_config.writing.migration import migrated
from tests.calling import Called, call
from tests.schedule import sampled

from .answers import MACHINES

DIGITS = "9" * 5000
DEEP = 3000
ODD: dict[str, bytes] = {
    "5,000 digits": f"num_processes: {DIGITS}\nmachine_rank: -{DIGITS}\nmain_process_port: {DIGITS}\n".encode(),
    "5,000 digits in text": f"tpu_name: {DIGITS}\nadditional_args: {{a: {DIGITS}}}\ncommands: [{DIGITS}]\n".encode(),
    "5,000 digits as a key": f"{DIGITS}: 1\nfsdp_config: {{{DIGITS}: 1}}\n".encode(),
    "hexadecimal digits": f"num_processes: 0x{'f' * 5000}\n".encode(),
    "binary digits": f"num_processes: 0b{'1' * 50000}\n".encode(),
    "a huge exponent": b"num_processes: 1e999999999\nzero_stage: 1e-999999999\ngrace: 1e400\n",
    "sexagesimals": b"num_processes: 1:30\nmain_process_port: 190:20:30\ngrace: 1:30.5\nadditional_args: {a: 1:30}\n",
    "long sexagesimals": f"num_processes: {'1:' * 5000}1\nadditional_args: {{a: {'1:' * 20000}1}}\n".encode(),
    "other numbers": b"num_processes: 0x10\nmachine_rank: 010\nmain_process_port: 1_000\ngrace: .inf\nnice: 0b11\n",
    "no number": b"grace: .nan\njoin_timeout: -.inf\nnum_machines: ~\nadditional_args: {a: .nan, b: .inf, c: 2020-13-40}\n",
    "dates": b"tpu_name: 2020-01-01\nnum_processes: 2020-01-01\nadditional_args: {a: 2020-01-01 10:00:00}\n",
    "years": b"additional_args: {a: 0000-01-01, b: 9999-12-31 23:59:59 +99:99, c: 2020-02-30}\n",
    "deep lists": b"commands: " + b"[" * DEEP + b"]" * DEEP,
    "deep mappings": b"additional_args: " + b"{a: " * DEEP + b"}" * DEEP,
    "deep block": b"".join(b" " * place + b"a:\n" for place in range(DEEP)),
    "deep JSON": b'{"additional_args": ' + b'{"a": ' * DEEP + b"1" + b"}" * DEEP + b"}",
    "deep lists in JSON": b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "an alias bomb": b"a0: &a0 [x, x]\n" + b"".join(b"a%d: &a%d [*a%d, *a%d]\n" % (n, n, n - 1, n - 1) for n in range(1, 40)),
    "a merge bomb": b"a0: &a0 {k: v}\n" + b"".join(b"a%d: &a%d {<<: [*a%d, *a%d]}\n" % (n, n, n - 1, n - 1) for n in range(1, 40)),
    "a cycle": b"a: &a [*a]\nadditional_args: &b {c: *b}\n",
    "merge of itself": b"a: &a {<<: *a}\n",
    "merge of a text": b"<<: text\nfsdp_config: {<<: [1, 2]}\nuse_cpu: true\n",
    "merge of nothing": b"fsdp_config:\n  <<:\n",
    "merges": b"x: &x {fsdp_version: 2}\nfsdp_config: {<<: *x, fsdp_version: 1}\n",
    "tags": b"num_processes: !!int '2'\ntpu_name: !!str 2\nuse_cpu: !!bool 'yes'\nfsdp_config: !!map {}\n",
    "a wrong tag": b"num_processes: !!int two\nuse_cpu: !!bool 7\ntpu_name: !!float x\nfsdp_config: !!seq {a: 1}\n",
    "a tag of a null": b"num_processes: !!null 2\nfsdp_config: !!null {a: 1}\ncommands: !!null [a]\n",
    "a tag of Python": b"a: !!python/object/apply:os.system ['false']\n",
    "a tag of one's own": b"a: !own 1\n",
    "a binary": b"a: !!binary aGk=\nb: !!set {c}\n",
    "NUL": b"num_processes: 2\x00\n",
    "NUL escaped": b'tpu_name: "a\\0b"\nmain_process_ip: "\\0"\nlog_dir: "\\0"\nfsdp_config: {"\\0": 1}\n',
    "surrogates": b'tpu_name: "\\ud800"\n"\\udfff": 1\nadditional_args: {"\\ud800": "\\udfff"}\n',
    "surrogates in JSON": b'{"tpu_name": "\\ud800", "\\udfff": 1, "log_dir": "\\udc80"}',
    "surrogates as bytes": b"tpu_name: \xed\xa0\x80\n",
    "a far escape": b'tpu_name: "\\UFFFFFFFF"\nrole: "\\U00110000"\n',
    "BOM": b"\xef\xbb\xbfnum_processes: 2\n",
    "two BOMs": b"\xef\xbb\xbf\xef\xbb\xbfnum_processes: 2\n",
    "only BOM": b"\xef\xbb\xbf",
    "UTF-16": "\ufeffnum_processes: 2\n".encode("utf-16"),
    "UTF-16 without BOM": "num_processes: 2\n".encode("utf-16-le"),
    "UTF-32": "num_processes: 2\n".encode("utf-32"),
    "Latin-1": "tpu_name: \xe9\n".encode("latin-1"),
    "controls": b"tpu_name: a\x01b\n",
    "separators": "tpu_name: a\u2028b\nnum_processes:\u00a02\nuse_cpu:\u3000true\n".encode(),
    "line ends": b"num_processes: 2\rmachine_rank: 0\r\nuse_cpu: true\x85debug: true\n",
    "form feed": b"num_processes: 2\x0c\n",
    "tabs": b"num_processes:\t2\n\tuse_cpu: true\n",
    "an escape": b"tpu_name: \x1b[31m\n",
    "documents": b"num_processes: 2\n---\nnum_processes: 3\n",
    "directives": b"%YAML 9.9\n%TAG ! tag:x,2000:\n---\nnum_processes: 2\n",
    "only a document": b"---\n...\n",
    "a list": b"- num_processes: 2\n",
    "a text": b"num_processes\n",
    "a number": b"5\n",
    "keys of all kinds": b"1: 2\ntrue: 1\n~: 1\n? [a, b]\n: 1\n? {a: b}\n: 2\n1.5: 3\n2020-01-01: 4\n",
    "a key of lists": b"num_processes: 2\n? [a]\n: 1\n",
    "a key of pairs, nested": b"fsdp_config:\n  ? {a: b}\n  : 1\n",
    "a null as key": b"num_processes: 2\n~ : 1\n",
    "a merged key": b"a: &a {? [b] : 1}\n<<: *a\n",
    "an anchor of lists as key": b"a: &a [b]\n*a : 1\n",
    "nested values": b"num_processes: [2]\nuse_cpu: {a: 1}\nmixed_precision: []\ndistributed_type: {}\ncommands: {a: b}\n",
    "nested mappings as text": b"fsdp_config: text\ndeepspeed_config: [a]\ndynamo_config: 1\nmpirun_config: true\n",
    "old keys": b"fp16: [1]\ndynamo_backend: {a: 1}\nipex_config: 5\ntp_config: &a [*a]\n",
    "old key of digits": f"fp16: {DIGITS}\ndynamo_backend: {DIGITS}\n".encode(),
    "ranges": b"num_machines: 2:x\nnum_machines: ':'\nnum_machines: 1:2:3\n",
    "JSON constants": b'{"grace": NaN, "nice": Infinity, "num_processes": -Infinity}',
    "JSON numbers": f'{{"num_processes": {DIGITS}, "grace": 1e999, "nice": -0, "zero_stage": 1.0}}'.encode(),
    "JSON keys": b'{"": 1, "num_processes": 2, "num_processes": 3}',
    "JSON cut off": b'{"num_processes": ',
    "JSON with comments": b'{"num_processes": 2, // two\n}',
    "empty": b"",
    "blank": b" \n\t\n",
    "1 MB": b"# " + b"x" * 999_990 + b"\n",
    "more than 1 MB": b"# " + b"x" * 1_100_000 + b"\n",
    "a long line": b"tpu_name: " + b"x" * 900_000 + b"\n",
    "a long key": b"x" * 900_000 + b": 1\n",
    "many keys": b"".join(b"k%d: 1\n" % number for number in range(9_000)),
    "too many keys": b"".join(b"k%d: 1\n" % number for number in range(60_000)),
    "many duplicates": b"num_processes: 1\nnum_processes: 2\n" * 4_000,
    "an unclosed text": b'tpu_name: "' + b"a\n" * 100_000,
    "many braces": b"{" * 400_000,
    "many question marks": b"? " * 20_000,
    "many anchors": b"".join(b"k%d: &a%d 1\n" % (number, number) for number in range(4_000)),
}  # fmt: skip
COMMANDS = (
    "config validate --config_file FILE",
    "config show --config_file FILE",
    "config get num_processes --config_file FILE",
    "config set --config_file FILE num_processes 2 fsdp_version 2",
    "config update --config_file FILE",
    "env --config_file FILE",
    "launch --config_file FILE --explain t.py",
    "launch --config_file FILE --dry_run t.py",
    "to-fsdp2 --config_file FILE --overwrite",
    "estimate-memory . --config_file FILE",
    "tpu-config --config_file FILE --command ls --dry_run",
    "sagemaker status --config_file FILE job",
)
LONG = 10  # seconds, on a busy machine


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "t.py").write_text("")
    return tmp_path


def told(words: list[str], folder: Path, environ: dict[str, str] | None = None) -> Called:
    """Call a command, and check that it ends as it should: soon, with a status of ours and without a traceback."""
    began = time.monotonic()
    done = call(words, folder, environ)
    assert "Traceback" not in done.text, (words, done.text)
    assert done.status in (0, 1, 2), (words, done)
    assert time.monotonic() - began < LONG, words
    assert len(done.text) < 2_000_000, (words, len(done.text))
    return done


@pytest.mark.parametrize("kind", sampled(ODD, every=3))
def test_files(folder: Path, kind: str) -> None:
    """Each by one of those that check, change, and launch; by others where all are read by many."""
    name = "c.json" if "JSON" in kind else "c.yaml"
    read(folder, name, ODD[kind], [COMMANDS[(0, 3, 6)[[*ODD].index(kind) % 3]]])


# What is no JSON at all is refused at its first character, so that samples suffice.
NAMED = [(kind, name) for place, kind in enumerate(ODD) for name in ("c.yaml", "c.json") if name == "c.yaml" or "JSON" in kind or place % 5 == 0]  # fmt: skip


@pytest.mark.exhaustive
@pytest.mark.parametrize(("kind", "name"), NAMED)
def test_files_by_many_commands(folder: Path, kind: str, name: str) -> None:
    """Four of twelve each: they all read files in one way, and each meets every kind of trouble with a few files."""
    read(folder, name, ODD[kind], COMMANDS[NAMED.index((kind, name)) % 3 :: 3])


def read(folder: Path, name: str, content: bytes, commands: Sequence[str]) -> None:
    """Give a file of this content to the commands."""
    for command in commands:
        (folder / name).write_bytes(content)
        done = told([word.replace("FILE", name) for word in command.split()], folder)
        if done.status == 2 or not command.startswith(("config set", "config update", "to-fsdp2")):
            assert (folder / name).read_bytes() == content, "a command that fails leaves the file alone"


@pytest.mark.parametrize("kind", ["a key of lists", "a null as key", "a merged key", "an anchor of lists as key"])
def test_a_key_that_is_no_text_is_refused_by_all(kind: str) -> None:
    """By those that change a file too: what they can't read they leave alone."""
    content, one = ODD[kind], CATALOGUE.named("num_processes")
    for use in (
        lambda: parse(CATALOGUE, content, "c.yaml"),
        lambda: assign(content, "c.yaml", one, 3),
        lambda: without(content, "c.yaml", one),
        lambda: migrated(content, "c.yaml", MACHINES["cpu"]),
        lambda: converted(content, "c.yaml"),
    ):
        with pytest.raises(SettingError, match=r"^c\.yaml:[12]: a key must be text$"):
            use()


EACH = [one if place in (3, 6) else pytest.param(one, marks=pytest.mark.exhaustive) for place, one in enumerate(COMMANDS)]  # fmt: skip


@pytest.mark.parametrize("command", EACH)
def test_what_is_no_file(folder: Path, command: str) -> None:
    (folder / "folder").mkdir()
    os.mkfifo(folder / "fifo")
    (folder / "loop").symlink_to("loop")
    (folder / "gone").symlink_to("nowhere")
    (folder / "secret").write_text("num_processes: 2\n")
    (folder / "secret").chmod(0)
    for name in ("folder", "fifo", "/dev/zero", "/dev/null", "/dev/full", "loop", "gone", "secret", "t.py/x", "", "a" * 5000, "~", "~nobody/x", "/proc/self/mem"):  # fmt: skip
        told([name if word == "FILE" else word for word in command.split()], folder)
        told(
            [word for word in command.split() if word not in ("--config_file", "FILE")],
            folder,
            {"ACCELERATE_CONFIG_FILE": name},
        )


def device(path: Path) -> None:
    """Make a link to a device."""
    path.symlink_to("/dev/zero")


NO_FILES = product(["default_config.yaml", "accel.yaml"], [os.mkdir, os.mkfifo, device])


@pytest.mark.parametrize(("name", "make"), sampled(NO_FILES, every=4))
def test_the_default_file_is_no_file(folder: Path, name: str, make: Callable[[Path], None]) -> None:
    place = folder / "hf" / "accelerate"
    place.mkdir(parents=True)
    make(place / name)
    for words in (["env"], ["config", "default"], ["config", "--yes"], ["config", "show"], ["config", "validate"], ["config", "set", "nice", "1"], ["config", "set", "num_processes", "1"], ["config", "get", "nice"], ["launch", "--explain", "t.py"]):  # fmt: skip
        told(words, folder)


@pytest.mark.parametrize("command", EACH)
def test_a_file_of_100_megabytes(folder: Path, command: str) -> None:
    with (folder / "c.yaml").open("wb") as file:
        file.truncate(100_000_000)
    told([word.replace("FILE", "c.yaml") for word in command.split()], folder)


VALUES = [DIGITS, f"-{DIGITS}", f"0x{'f' * 5000}", "1:30", "1e999999999", "nan", "inf", "-inf", "0x10", "1_000", "", " ", "[" * 5000, "{" * 5000, '{"a": ' * 5000, "a" * 100_000, "\udcff", "2020-01-01", "1,2," * 5000, "!!int 2", "*a", "n[0-99999999999]", "٣", "²"]  # fmt: skip


@pytest.mark.exhaustive
@pytest.mark.parametrize("value", VALUES, ids=lambda value: ascii(value)[:20])
def test_values(folder: Path, value: str) -> None:
    from accel_config import CATALOGUE

    each = ("num_processes", "num_machines", "grace", "cpu", "mixed_precision", "commands", "env", "additional_args", "run_id", "gpu_ids", "main_process_ip", "main_process_port", "fp8_override_linear_precision", "mpirun_ccl", "job_time")  # fmt: skip
    for name in each[VALUES.index(value) % 3 :: 3]:
        told(["launch", f"--{name}={value}", "--explain", "t.py"], folder)
        told(["config", "set", "--config_file", f"{name}.yaml", name, value], folder)
        told(["config", "set", "--config_file", f"{name}.json", name, value], folder)
        told(["config", "show"], folder, {CATALOGUE.by_name[name].variable: value})


@pytest.mark.parametrize("digits", [19, 400, 5000])
@pytest.mark.parametrize(
    "name", ["job_gpus", "job_cpus", "max_restarts", "zero_stage", "stall_after", "join_timeout"]
)
def test_flags_of_many_digits_are_refused_at_once(folder: Path, name: str, digits: int) -> None:
    for flags in ([], ["--slurm"]):
        told(["launch", f"--{name}={'9' * digits}", *flags, "--dry_run", "--cpu", "t.py"], folder)
