"""Completion scripts, each asked in its shell as a Tab would; PATH is empty there, so nothing of ours can be run."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pexpect  # pyright: ignore[reportMissingTypeStubs]
import pytest

from accel_config import CATALOGUE
from accel_config.showing.help import topics
from tests.conftest import Run


def tab(script: Path, *words: str) -> set[str]:
    """What a Tab offers after ``words``, the last of which is being typed; PATH is empty, so nothing can be run."""
    typed = " ".join(f"'{word}'" for word in words)
    code = (
        f'PATH=; source "{script}"; COMP_WORDS=({typed}); COMP_CWORD={len(words) - 1}; read -r _ _ _ _ called _ < '
        f'<(complete -p {words[0]}); $called; echo "${{COMPREPLY[@]}}"'
    )
    done = subprocess.run(["/bin/bash", "-c", code], capture_output=True, text=True, timeout=20, check=True)
    assert done.stderr == ""
    return set(done.stdout.split())


def test_bash(accelerate: Run, tmp_path: Path) -> None:
    script = tmp_path / "c.bash"
    script.write_text(accelerate("completion", "bash").stdout)
    for program in ("accelerate", "accel"):
        assert tab(script, program, "co") == {"config", "completion"}
        assert tab(script, program, "launch", "--mixed_pr") == {"--mixed_precision"}
    assert tab(script, "accelerate", "launch", "--mixed_precision", "") == {"no", "fp16", "bf16", "fp8"}
    assert tab(script, "accelerate", "launch", "--fsdp_v") == {"--fsdp_version"}
    assert tab(script, "accelerate", "launch", "t") == set()  # files, by bash itself
    assert tab(script, "accelerate", "config", "va") == {"validate"}
    assert tab(script, "accelerate", "env", "--c") >= {"--config_file"}
    assert tab(script, "accelerate", "launch", "--mixed-precision", "") == {"no", "fp16", "bf16", "fp8"}
    assert tab(script, "accelerate", "launch", "--mixed_precision", "=") == {"no", "fp16", "bf16", "fp8"}
    assert tab(script, "accelerate", "launch", "--mixed_precision", "=", "b") == {"bf16"}
    assert tab(script, "accelerate", "config", "default", "--mixed_precision", "f") == {"fp16", "fp8"}
    assert tab(script, "accelerate", "config", "get", "fsdp_config.fsdp_v") == {"fsdp_config.fsdp_version"}
    assert tab(script, "accelerate", "launch", "--help", "d") == {"dynamo", "deepspeed"}
    assert tab(script, "accelerate", "launch", "--help", "") == set(topics(CATALOGUE))
    assert tab(script, "accelerate", "launch", "--engine", "t") >= {"tpu", "tpu-pod"}
    assert tab(script, "accelerate", "test", "--num_pro") == {"--num_processes"}
    assert tab(script, "accelerate", "sagemaker", "st") == {"status", "stop"}
    assert tab(script, "accelerate", "tpu-config", "--tpu_n") == {"--tpu_name"}
    assert tab(script, "accelerate", "estimate-memory", "--conf") == {"--config_file"}
    assert tab(script, "accelerate", "completion", "") == {"bash", "fish", "zsh"}


def test_each_flag_that_a_command_declares_is_offered(accelerate: Run, tmp_path: Path) -> None:
    """Of commands that argparse reads: their usage, made by argparse itself, shows no other flag."""
    script = tmp_path / "c.bash"
    script.write_text(accelerate("completion", "bash").stdout)
    for command in ("config", "env", "estimate-memory", "merge-weights", "to-fsdp2", "tpu-config"):
        shown = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", accelerate(command, "--help").stdout.partition("\n\n")[0]))
        offered = {flag.replace("-", "_") for flag in tab(script, "accel", command, "--")}
        assert shown
        assert {flag.replace("-", "_") for flag in shown} <= offered, command


OFFERS = [
    ("accelerate co", {"config", "completion"}),
    ("accelerate launch --mixed_precision ", {"no", "fp16", "bf16", "fp8"}),
    ("accelerate launch --fsdp_v", {"--fsdp_version"}),
    ("accelerate launch --megatron_lm_p", {"--megatron_lm_pp_degree"}),
    ("accelerate launch --help fs", {"fsdp"}),
    ("accelerate config va", {"validate"}),
    ("accel config va", {"validate"}),
    ("accel launch --mixed_precision ", {"no", "fp16", "bf16", "fp8"}),
    ("accelerate config get fsdp_config.fsdp_v", {"fsdp_config.fsdp_version"}),
    ("accelerate config default --mixed_precision f", {"fp16", "fp8"}),
    ("accelerate config --config_file x va", {"validate"}),
    ("accelerate launch ./tr", {"./train.py"}),
]


def words(text: str) -> set[str]:
    return {word for line in text.splitlines() for word in line.split()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "train.py").write_text("")
    return tmp_path


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh isn't installed: apt-get install zsh")
def test_zsh(accelerate: Run, folder: Path) -> None:
    """In an interactive zsh: what it lists for each line is what is offered."""
    (folder / "_accelerate").write_text(accelerate("completion", "zsh").stdout)
    environ = {"PATH": "", "TERM": "dumb", "HOME": str(folder), "ZDOTDIR": str(folder)}
    zsh = str(shutil.which("zsh"))
    shell: Any = pexpect.spawn(
        zsh, ["-f", "-i"], env=environ, cwd=str(folder), encoding="utf-8", dimensions=(500, 200), timeout=20
    )
    setup = 'fpath=("$HOME" $fpath); autoload -Uz compinit; compinit -u -D; LISTMAX=1000; bindkey "^I" list-choices'
    for line in ("unset zle_bracketed_paste; unsetopt PROMPT_SP", setup, "PS1='> '; echo RE''ADY"):
        shell.sendline(line)
    shell.expect_exact("READY\r\n")
    precisions = {"no", "fp16", "bf16", "fp8"}
    for typed, offered in [
        *OFFERS,
        ("accelerate launch --mixed_precision=b", {"bf16"}),
        ("accelerate launch --mixed-precision ", precisions),
    ]:
        shell.send(typed + "\t")
        shell.expect_exact(f"{typed}\r\r\n")
        shell.expect_exact("\r\n> ")
        assert words(shell.before) == {word.rpartition("/")[2] for word in offered}, typed
        shell.send("\x15")
    shell.sendline("exit")
    shell.expect(pexpect.EOF)
    shell.close()


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish isn't installed: apt-get install fish")
def test_fish(accelerate: Run, folder: Path) -> None:
    (folder / "c.fish").write_text(accelerate("completion", "fish").stdout)
    code = "source c.fish; for line in $argv; complete -C $line; echo --; end"
    environ = {"PATH": "", "HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "XDG_DATA_HOME": str(folder)}
    offers = [*OFFERS, ("accelerate launch --mixed_precision=b", {"--mixed_precision=bf16"})]
    lines = [typed for typed, _offered in offers]
    done = subprocess.run(
        [str(shutil.which("fish")), "--no-config", "-c", code, *lines],
        env=environ, cwd=folder, capture_output=True, text=True, timeout=20, check=True,
    )  # fmt: skip
    assert done.stderr == ""
    for (typed, offered), found in zip(offers, done.stdout.split("--\n"), strict=False):
        # It also offers what only resembles what is typed.
        begin = typed.rpartition(" ")[2]
        assert {word for word in words(found) if word.startswith(begin)} == offered, typed


def test_an_unknown_shell(accelerate: Run) -> None:
    assert accelerate("completion", "tcsh").returncode == 2
