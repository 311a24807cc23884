"""The script's arguments as the console shows them."""

from __future__ import annotations

import json

import pytest

from accel_sagemaker.building import hyperparameters


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("-3", -3),
        ("3.0", 3),
        ("0.5", 0.5),
        ("1e-4", 0.0001),
        ("1e999", "1e999"),
        ("007", "007"),
        ("1_000", "1_000"),
        ("nan", "nan"),
        ("True", True),
        ("False", False),
        ("true", "true"),
        ("", ""),
        ("bert", "bert"),
        (str(10**30), 10**30),
    ],
)
def test_types(text: str, value: object) -> None:
    found = hyperparameters.typed(text)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["--lr", "1"], {"lr": 1}),
        (["--lr=1"], {"lr": 1}),
        (["--lr=a=b"], {"lr": "a=b"}),
        (["--learning-rate", "1"], {"learning_rate": 1}),
        (["--shift", "-0.5"], {"shift": -0.5}),
        (["--fp16", "--lr", "1"], {"fp16": True, "lr": 1}),
        (["--ids", "1", "2"], {"ids": [1, 2]}),
        (["--id", "1", "--id", "2"], {"id": [1, 2]}),
        (["data", "--lr", "1"], {"lr": 1}),
        (["-n", "1"], {"n": 1}),
        (["--name="], {"name": ""}),
        (["--lr", "1", "--", "--x"], {"lr": 1, "x": True}),
        (["--hub_token", "abc"], {"hub_token": "***"}),
        (["--hub-token=abc"], {"hub_token": "***"}),
        (["--max_token", "512"], {"max_token": 512}),
        (["--wandb-key", "abc", "--private_key=x"], {"wandb_key": "***", "private_key": "***"}),
        (["--tokenizer", "bert"], {"tokenizer": "bert"}),
        (["--use_auth_token"], {"use_auth_token": True}),
        (["--set", "auth.token=abc", "--db", "pg://me:pw@h"], {"set": "auth.token=***", "db": "pg://***@h"}),
        (["--shift", "-.5", "-"], {"shift": ["-.5", "-"]}),
        ([], {}),
    ],
)
def test_pairs(words: list[str], found: dict[str, object]) -> None:
    assert hyperparameters.pairs(words)[0] == found


def test_a_secret_is_noted() -> None:
    notes = hyperparameters.pairs(["--hub_token", "abc", "--lr", "1"])[1]
    assert [note.split()[0] for note in notes] == ["--hub_token"]
    assert "abc" not in notes[0]
    assert "everyone with access to the bundle" in notes[0]


def test_names_that_the_toolkit_keeps_are_not_shown() -> None:
    shown, notes = hyperparameters.pairs(["--sagemaker_program", "x"])
    assert not shown
    assert "--sagemaker_program reaches the script" in notes[0]


def test_what_the_service_would_refuse_is_left_out() -> None:
    words = [word for number in range(120) for word in (f"--a{number}", "1")]
    shown, notes = hyperparameters.pairs([*words, "--long", "x" * 2499], most=90)
    assert len(shown) == 90
    assert "a119, long" in notes[0]


def test_every_value_is_json() -> None:
    assert hyperparameters.spelled({"a": True, "b": "x", "c": [1]}) == {"a": "true", "b": '"x"', "c": "[1]"}
    assert json.loads(hyperparameters.spelled({"a": 'say "x"'})["a"]) == 'say "x"'
