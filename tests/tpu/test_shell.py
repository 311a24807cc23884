"""What the workers' shell is given arrives there byte for byte, and is run as it was meant."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accel_config.errors import AccelError
from accel_tpu import shell

SHELLS = ("/bin/bash", "/bin/dash")
MARK = "accel-0"
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60)
NASTY = (
    "", " ", "  two  blanks ", "'", '"', "\\", "a\\", "a\nb\n", "$HOME `id` $(id) ${x}", "!!", "# c", "a # b", "-n", "--", "~", "*", "a;b", "a&", "é漢\u2028",
    "'\"'\"'", "\t\r\n", "%s%n", "\x1b[0m", "\udcff",
)  # fmt: skip


@pytest.fixture(scope="module")
def recorder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A login shell that writes down what it is to run, and does nothing else."""
    path = tmp_path_factory.mktemp("shell") / "recorder"
    path.write_text('#!/bin/sh\nprintf %s "$2" >"$RECORD"\n')
    path.chmod(0o755)
    return path


def at_the_shell(recorder: Path, sent: str, shell_: str) -> bytes:
    """Send a text as gcloud and ssh do, and return what the login shell is asked to run by it."""
    sent = " ".join(sent.split(" "))
    record = recorder.with_name("record")
    record.unlink(missing_ok=True)
    environ = {"SHELL": str(recorder), "RECORD": str(record), "PATH": "/usr/bin:/bin"}
    lifeline, ours = os.pipe()  # whose end would mean that nobody is there any more
    os.write(ours, b"go\n")
    try:
        subprocess.run([shell_, "-c", sent], stdin=lifeline, stderr=subprocess.DEVNULL, env=environ, timeout=20)
    finally:
        os.close(lifeline)
        os.close(ours)
    return record.read_bytes()


def check_it_arrives(recorder: Path, text: str, shell_: str) -> None:
    for sent in (
        shell.supervised(text, MARK, sudo=False),
        shell.fed(text, sudo=False),
        shell.plain(text, {"K": text}, sudo=False),
    ):
        assert at_the_shell(recorder, sent, shell_) == text.encode("utf-8", "surrogateescape")


@pytest.mark.parametrize("shell_", SHELLS)
@pytest.mark.parametrize("text", NASTY)
def test_a_nasty_text_arrives(recorder: Path, text: str, shell_: str) -> None:
    check_it_arrives(recorder, text, shell_)


@settings(max_examples=60, deadline=None)
@given(text=TEXT)
def test_any_text_arrives(recorder: Path, text: str) -> None:
    check_it_arrives(recorder, text, "/bin/bash")


def run(text: str, shell_: str = "/bin/bash", cwd: Path | None = None) -> tuple[int, str]:
    done = subprocess.run([shell_, "-c", text], capture_output=True, text=True, cwd=cwd, timeout=20)
    return done.returncode, done.stdout


@settings(max_examples=40, deadline=None)
@given(value=TEXT)
def test_any_value_of_a_variable_arrives(value: str) -> None:
    code, out = run(shell.plain('printf "%s." "$K"', {"K": value}, sudo=False))
    assert (code, out) == (0, _as_text(value) + ".")


VALUES = (*NASTY, "\n", "a\n\n", "\\n\\", "\\c\\0101", "%s%b", " a ", "\ta\r", "_accel", "\udcff x")
# Those that the receiving text uses itself, each with a value that it could confuse with its own.
NAMES = {"K": "", "go": "go", "value": "\\n", "accel": "K=1"}


@pytest.mark.parametrize("shell_", SHELLS)
@pytest.mark.parametrize("way", ["fed", "supervised"])
def test_values_by_standard_input_arrive(shell_: str, way: str, tmp_path: Path) -> None:
    held = {f"K{place}": value for place, value in enumerate(VALUES)} | NAMES
    text = "".join(f'printf "%s" "${name}" >{name}; ' for name in held) + "env >env"
    sent = shell.fed(text, sudo=False) if way == "fed" else shell.supervised(text, MARK, sudo=False)
    environ = {"SHELL": shell_, "PATH": "/usr/bin:/bin"}
    lifeline, ours = os.pipe()
    os.write(ours, shell.lines(held))
    try:
        subprocess.run(
            [shell_, "-c", sent], stdin=lifeline, env=environ, cwd=tmp_path, capture_output=True, timeout=60
        )
    finally:
        os.close(lifeline)
        os.close(ours)
    for name, value in held.items():
        assert (tmp_path / name).read_bytes() == value.encode("utf-8", "surrogateescape"), name
    names = [line.partition(b"=")[0] for line in (tmp_path / "env").read_bytes().splitlines()]
    assert not [name for name in names if name in (b"_accel", b"_value")]


def test_variables_that_no_process_can_be_given_are_refused() -> None:
    with pytest.raises(AccelError, match="more than 120000"):
        shell.carried({"K": "x" * 130_000})
    with pytest.raises(AccelError, match="value 0"):
        shell.carried({"K": "a\0b"})


def _as_text(value: str) -> str:
    return value.replace("\r\n", "\n").replace("\r", "\n")  # text mode reads them so


@pytest.mark.parametrize("shell_", SHELLS)
def test_steps_share_a_shell_and_keep_to_themselves(shell_: str) -> None:
    joined = shell.steps("x=1; cd /", "echo $x # the first", "cat <<E\nheld: $x\nE", "echo a \\", "pwd")
    assert run(joined, shell_) == (0, "1\nheld: 1\na \\\n/\n")


@pytest.mark.parametrize("shell_", SHELLS)
def test_the_first_step_that_fails_ends_it_with_its_status(shell_: str) -> None:
    assert run(shell.steps("echo a", "(exit 7)", "echo b"), shell_) == (7, "a\n")


def test_a_broken_step_does_not_reach_into_the_next() -> None:
    code, out = run(shell.steps("echo 'open", "echo b"))
    assert code
    assert not out


def test_one_step_stands_as_it_is() -> None:
    assert shell.in_folder(shell.steps("ls -l")) == "cd /usr/share || exit; ls -l"
    assert shell.in_folder(shell.steps()) == "cd /usr/share"


SCRIPT = """\
# a comment; not a command
x="a # b"

for i in 1 2; do
  echo "$i $x \\
goes on"
done
cat <<'E'
  $kept as it is
E
(exit 3)
"""


@pytest.mark.parametrize("shebang", ["", "#!/bin/sh\n", "#!/usr/bin/env bash\n", "#!/bin/bash -u\n"])
def test_a_script_keeps_its_meaning(shebang: str, tmp_path: Path) -> None:
    out = "1 a # b goes on\n2 a # b goes on\n  $kept as it is\n"
    sent = shell.script((shebang + SCRIPT).encode(), "x.sh")
    assert run(sent.replace("mktemp", f"mktemp -p {tmp_path}")) == (3, out)
    assert list(tmp_path.iterdir()) == []


def test_a_shebang_of_another_language_is_used() -> None:
    sent = shell.script(b"#!/usr/bin/env python3\nimport sys\nprint('python', sys.argv[1:])\n", "x")
    assert run(sent) == (0, "python []\n")
    sent = shell.script(b"#!/usr/bin/env -S python3 -B\nimport sys\nprint(sys.dont_write_bytecode)\n", "x")
    assert run(sent) == (0, "True\n")


@settings(max_examples=30, deadline=None)
@given(body=st.binary(max_size=60).filter(lambda body: b"\0" not in body))
def test_any_bytes_of_a_script_arrive(body: bytes) -> None:
    sent = shell.script(b"#!/bin/cat\n" + body, "x")
    done = subprocess.run(["/bin/bash", "-c", sent.encode("utf-8", "surrogateescape")], capture_output=True)
    assert done.stdout == b"#!/bin/cat\n" + body


def test_a_script_from_windows_keeps_its_meaning() -> None:
    windows = b"\xef\xbb\xbf#!/bin/bash -u\r\nfor i in 1 2; do\r\n  echo $i\r\ndone\r\ncat <<E\r\nheld\r\nE\r\n"
    assert run(shell.script(windows, "x.sh")) == (0, "1\n2\nheld\n")
    mixed = b"cat <<E | od -An -c\na\r\nE\n"
    assert run(shell.script(mixed, "x.sh"))[1].split() == ["a", r"\r", r"\n"], "one line makes no file of Windows"


def test_a_binary_is_no_script() -> None:
    with pytest.raises(AccelError, match=r"x\.bin isn't a shell script"):
        shell.script(b"\x7fELF\0", "x.bin")


@pytest.mark.parametrize(
    ("version", "sent"),
    [
        ("latest", "pip install accelerate -U"),
        ("dev", "pip install git+https://github.com/huggingface/accelerate.git"),
        ("1.2.0", "pip install accelerate==1.2.0"),
        ("1!2.0rc1.post2.dev3+local.1", "pip install 'accelerate==1!2.0rc1.post2.dev3+local.1'"),
    ],
)
def test_versions(version: str, sent: str) -> None:
    assert shell.install(version)[0] == sent


@pytest.mark.parametrize("version", ["", "one", "1.0; rm -rf /", "1.0 --pre", "1..0", "$(id)", "1.0\n"])
def test_what_is_no_version_is_refused(version: str) -> None:
    with pytest.raises(AccelError, match="isn't a valid version"):
        shell.install(version)


def test_variables() -> None:
    assert shell.variables(("A=1", "B=", "C=x=y; z"), "--env") == {"A": "1", "B": "", "C": "x=y; z"}
    for wrong in ("A", "=x", "1A=2", "A B=1", "A;id=1"):
        with pytest.raises(AccelError, match=r"--env: a variable for the workers must be KEY=VALUE"):
            shell.variables((wrong,), "--env")


def test_sudo_comes_before_the_variables_it_would_drop() -> None:
    assert shell.plain("id", {"K": "a b"}, sudo=True) == "sudo env 'K=a b' \"$SHELL\" -c id"
    assert shell.supervised("id", MARK, sudo=True).startswith("exec sudo setsid -w sh -c ")


def test_what_is_too_long_for_ssh_is_refused() -> None:
    assert shell.fitting("x" * shell.LONGEST)
    with pytest.raises(AccelError, match="copy the file to the workers"):
        shell.fitting("x" * (shell.LONGEST + 1))
    with pytest.raises(AccelError, match="value 0"):
        shell.fitting("a\0b")


def test_the_other_end_waits_to_be_let_begin() -> None:
    sent = shell.supervised("echo began", MARK, sudo=False)
    environ = {"SHELL": "/bin/sh", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(["/bin/bash", "-c", sent], input="", env=environ, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (254, "", f"{MARK} ready\n")
    assert shlex.split(sent)[:4] == ["exec", "setsid", "-w", "sh"]
