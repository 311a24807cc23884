"""Completion scripts, the one for bash asked as a Tab would."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.conftest import Run


def tab(script: Path, *words: str) -> set[str]:
    """What a Tab offers after ``words``, the last of which is being typed; PATH is empty, so nothing can be run."""
    typed = " ".join(f"'{word}'" for word in words)
    code = f'PATH=; source "{script}"; COMP_WORDS=({typed}); COMP_CWORD={len(words) - 1}; _accelerate_words; echo "${{COMPREPLY[@]}}"'
    done = subprocess.run(["/bin/bash", "-c", code], capture_output=True, text=True, timeout=20, check=True)
    assert done.stderr == ""
    return set(done.stdout.split())


def test_bash(accelerate: Run, tmp_path: Path) -> None:
    script = tmp_path / "c.bash"
    script.write_text(accelerate("completion", "bash").stdout)
    assert tab(script, "accelerate", "co") == {"config", "completion"}
    assert tab(script, "accelerate", "launch", "--mixed_precision", "") == {"no", "fp16", "bf16", "fp8"}
    assert tab(script, "accelerate", "launch", "--fsdp_v") == {"--fsdp_version"}
    assert tab(script, "accelerate", "launch", "t") == set()  # files, by bash itself
    assert tab(script, "accelerate", "config", "va") == {"validate"}
    assert tab(script, "accelerate", "env", "--c") >= {"--config_file"}


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_are_told_the_same_words(accelerate: Run, shell: str) -> None:
    done = accelerate("completion", shell)
    assert done.returncode == 0
    assert "mixed_precision" in done.stdout
    assert "validate" in done.stdout


def test_an_unknown_shell(accelerate: Run) -> None:
    assert accelerate("completion", "tcsh").returncode == 2
