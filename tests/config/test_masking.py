"""No secret is shown."""

from __future__ import annotations

import time

import pytest

from accel_config.showing.masking import masked, sentence

HF = "hf_" + "aB3" * 11
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.s5ig-na_ture"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("export HF_TOKEN=abc && ls", "export HF_TOKEN=*** && ls"),
        ("run --api-key 'a b' x", "run --api-key *** x"),
        ("--password=abc", "--password=***"),
        (["--password", "X", "x"], ["--password", "***", "x"]),
        (["--password", "-x"], ["--password", "-x"]),
        ("['--password', 'X']", "['--password', ***]"),
        ("https://me:pass@host/x", "https://***@host/x"),
        ("https://ghp_abc@host/x y@z", "https://***@host/x y@z"),
        ("s3://key:se/cr+et@bucket/x", "s3://***@bucket/x"),
        ("mongodb+srv://me:p@ss@host", "mongodb+srv://***@host"),
        ("http://host:8080/a@b", "http://host:8080/a@b"),
        ("https://host/x?X-Amz-Signature=abc", "https://host/x?X-Amz-Signature=***"),
        ("https://hooks.slack.com/services/T0/B0/abc", "https://hooks.slack.com/services/***"),
        ("curl -H 'Authorization: Bearer abc' x", "curl -H 'Authorization: Bearer ***' x"),
        ("Authorization: Basic dXNlcjpw", "Authorization: Basic ***"),
        ('{"Authorization": "Digest a=b, c=d"}', '{"Authorization": "***"}'),
        ("X-Api-Key: abc", "X-Api-Key: ***"),
        ("Cookie: a=b; c=d", "Cookie: ***"),
        ("DB_PASS=x MYSQL_PWD=y GH_PAT=z bypass=3", "DB_PASS=*** MYSQL_PWD=*** GH_PAT=*** bypass=3"),
        ('{"a": {"b": [{"db_pass": "x"}]}}', '{"a": {"b": [{"db_pass": "***"}]}}'),
        ('{"a": ["--password", "x", "https://u:p@h"]}', '{"a": ["--password", "***", "https://***@h"]}'),
        ('{"a": "{\\"secret\\": \\"x y\\"}"}', '{"a": "{\\"secret\\": \\"***\\"}"}'),
        ('run {"password": "x y", "a": 1}', 'run {"password": ***, "a": 1}'),
        ('{"password": "x y', '{"password": ***'),
        ("password: hunter2", "password: ***"),
        ([{"name": "DB_PASS", "value": "x"}], [{"name": "DB_PASS", "value": "***"}]),
        ({"environment": {"WANDB_API_KEY": "x", "A": "y"}}, {"environment": {"WANDB_API_KEY": "***", "A": "y"}}),
        ({"password": 123, "pass": None}, {"password": "***", "pass": None}),
        ("-----BEGIN RSA PRIVATE KEY-----\nab\nc\n-----END RSA PRIVATE KEY----- x", "-----BEGIN RSA PRIVATE KEY-----*** x"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nab", "-----BEGIN OPENSSH PRIVATE KEY-----***"),
        (f"a {HF} b", "a *** b"),
        (f'a "{HF}"', 'a "***"'),
        ({HF: 1}, {"***": 1}),
        ("sk-proj-" + "a1" * 20, "***"),
        ("ghp_" + "a1" * 18, "***"),
        ("github_pat_" + "a1" * 18, "***"),
        ("AKIA" + "A1" * 8, "***"),
        ("xoxb-" + "1-a" * 8, "***"),
        (JWT, "***"),
        # What only looks like one.
        (("a=b", 3), ["a=b", 3]),
        ("plain", "plain"),
        ("TOKENIZERS_PARALLELISM=no --tokenizer bert", "TOKENIZERS_PARALLELISM=no --tokenizer bert"),
        ("TOKENIZER_TOKEN=x", "TOKENIZER_TOKEN=***"),
        ("--max_new_tokens 128 --num_key_value_heads=8", "--max_new_tokens 128 --num_key_value_heads=8"),
        ("use_auth_token=True", "use_auth_token=True"),
        ("PWD=/home HF_TOKEN_PATH=/x", "PWD=/home HF_TOKEN_PATH=/x"),
        ("hf_hub_download sk-learn.py", "hf_hub_download sk-learn.py"),
        ('{"a":  1}', '{"a":  1}'),
        (
            {"TOKENIZERS_PARALLELISM": "no", "TOKENIZER_KEY": "x"},
            {"TOKENIZERS_PARALLELISM": "no", "TOKENIZER_KEY": "***"},
        ),
    ],
)  # fmt: skip
def test_masked(value: object, expected: object) -> None:
    assert masked(value) == expected
    assert masked(expected) == expected, "twice is once"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("--aws_secret_access_key needs a value: text", "--aws_secret_access_key needs a value: text"),
        ("the token: it is missing", "the token: it is missing"),
        ('x must be a number, not \'{"db_pass": "x"}\'', "x must be a number, not '{\"db_pass\": ***}'"),
        ("not {'password': 'x'}", "not {'password': ***}"),
        (f"not {HF!r}", "not '***'"),
        ("not ['--password', 'X']", "not ['--password', ***]"),
        ("can't reach https://u:p@host", "can't reach https://***@host"),
    ],
)
def test_sentences_of_ours_are_kept_and_what_they_quote_is_masked(line: str, expected: str) -> None:
    assert sentence(line) == expected


@pytest.mark.parametrize(
    "text",
    [
        "a" * 200_000,
        "TOKEN" * 40_000,
        "TOKEN=" * 30_000,
        "TOKEN:" * 30_000,
        "x://a:" * 30_000,
        "a:" * 100_000 + "=",
        "\\" * 200_000 + "=",
        "eyJ-" * 50_000,
        "SG." * 50_000,
        "-----BEGIN PRIVATE KEY" * 9_000,
        "'TOKEN': '" * 20_000,
        "[" * 100_000 + "=",
        '{"a":' * 50_000 + "=",
    ],
    ids=lambda text: str(text)[:20],
)
def test_a_long_text_takes_time_in_proportion(text: str) -> None:
    began = time.process_time()
    masked(text)
    sentence(text)
    assert time.process_time() - began < 5  # a second at most on a busy machine; quadratic steps took a minute
