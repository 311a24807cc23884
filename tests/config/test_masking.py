"""No secret is shown."""

from __future__ import annotations

import pytest

from accel_config.masking import masked


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("export HF_TOKEN=abc && ls", "export HF_TOKEN=*** && ls"),
        ("run --api-key 'a b' x", "run --api-key *** x"),
        ("https://me:pass@host/x", "https://***@host/x"),
        ("https://ghp_abc@host/x y@z", "https://***@host/x y@z"),
        ("curl -H 'Authorization: Bearer abc' x", "curl -H 'Authorization: Bearer *** x"),
        ({"environment": {"WANDB_API_KEY": "x", "A": "y"}}, {"environment": {"WANDB_API_KEY": "***", "A": "y"}}),
        (("a=b", 3), ["a=b", 3]),
        ("plain", "plain"),
        ("TOKENIZERS_PARALLELISM=no --tokenizer bert", "TOKENIZERS_PARALLELISM=no --tokenizer bert"),
        ("TOKENIZER_TOKEN=x", "TOKENIZER_TOKEN=***"),
        (
            {"TOKENIZERS_PARALLELISM": "no", "TOKENIZER_KEY": "x"},
            {"TOKENIZERS_PARALLELISM": "no", "TOKENIZER_KEY": "***"},
        ),
    ],
)
def test_masked(value: object, expected: object) -> None:
    assert masked(value) == expected
