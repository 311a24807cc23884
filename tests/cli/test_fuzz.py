"""Random words: each command ends soon, with a message or an answer, and never with a traceback or an escape."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from accel_config import CATALOGUE
from accel_estimate import options
from tests.calling import call
from tests.fuzzing import fuzz

from .test_escapes import strangers

FLAGS = [flag for one in CATALOGUE.settings for flag in one.flags]
ODD = ["", " ", "-", "--", "---", "=", "--=", "-=", "-m", "-n", "--no-", "\x1b[31m", "\u202e", "a\nb", "\udcff", "9" * 5000, "-1", "0", "1e9", "nan", "1:2", "2(x99999999999)", "n[0-99999999999]", "a,b", "a=b", "{}", "[]", '{"a": 1}', "null", "true", "no", "yes", "t.py", "c.yaml", "folder", "/", "~", "*", "$HOME", "é", "😀", "x" * 3000]  # fmt: skip
VALUES = sorted({text for one in CATALOGUE.settings for text in map(str, one.choices)})
CONFIG = ["default", "update", "validate", "show", "get", "set", "path", "schema", "--config_file", "--yes", "--overwrite", "--mixed_precision", "bf16", "--strict", "--all", "--json", "--output", "out.json", "--version", "--help"]  # fmt: skip
ESTIMATE = [flag for action in options.parser("x", launch_config=True)._actions for flag in action.option_strings]
KEYS = [key for one in CATALOGUE.settings for key in one.keys]


def words(chance: random.Random, command: str) -> list[str]:
    """The words of one command line."""
    own = {"config": CONFIG, "env": ["--config_file", "--json", "--help"], "estimate-memory": ESTIMATE}.get(
        command, FLAGS
    )
    found: list[str] = []
    for _word in range(chance.randint(0, 8)):
        word = chance.choice(
            [chance.choice(own), chance.choice(own), chance.choice(VALUES), chance.choice(ODD), chance.choice(KEYS)]
        )
        if chance.random() < 0.2:
            word += "=" + chance.choice(ODD)
        if chance.random() < 0.1:
            place = chance.randint(0, len(word))
            word = word[:place] + chance.choice(ODD) + word[place:]
        found.append(word)
    return found


@pytest.mark.fuzz
@pytest.mark.parametrize("command", ["launch", "config", "estimate-memory", "env", "tpu-config", "test", "sagemaker"])
def test_words(tmp_path: Path, command: str) -> None:
    (tmp_path / "t.py").write_text("")
    (tmp_path / "folder").mkdir()
    first = {"launch": ["--dry_run"], "tpu-config": ["--dry_run"], "test": ["--dry_run"]}.get(command, [])

    def one_round(chance: random.Random) -> None:
        (tmp_path / "c.yaml").write_text("num_processes: 2\n")
        typed = [word for word in words(chance, command) if not word.startswith(("--submit", "--torch"))]
        if command == "launch" and chance.random() < 0.5:
            typed.append("t.py")
        if command == "estimate-memory":  # a model of this folder: nothing is asked of a hub
            typed = [*(word for word in typed if word.startswith("-") or "/" in word), "./folder"]
        environ = {"HF_HUB_OFFLINE": "1", "http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
        began = time.monotonic()
        done = call([command, *first, *typed], tmp_path, environ)
        assert b"Traceback" not in done.err, (typed, done)
        assert done.status in ((0, 1, 2) if command != "launch" else (0, 2)), (typed, done)
        assert time.monotonic() - began < 10, typed
        if command != "launch" or not done.out.startswith(b"#!"):  # a script of words that were typed
            assert strangers(done) == [], (typed, done)

    fuzz(one_round, seconds=10)
