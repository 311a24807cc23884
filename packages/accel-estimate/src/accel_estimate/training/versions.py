"""What the version of a library changes."""

from __future__ import annotations

import re

FREES_INPUTS = (0, 43, 2)
"""The first bitsandbytes whose 4-bit products don't keep their inputs (autograd/_functions.py, `MatMul4Bit.forward`:
`ctx.tensors`). LLM.int8() keeps them in all versions."""

KEEPS_NARROW = (4, 46)
"""The first transformers whose output has the logits as the head makes them; before, fp32 ones took their place
(modeling_llama.py and others, `logits = logits.float()`)."""

SHIFTS_LABELS = (4, 49)
"""The first transformers whose loss shifts the labels alone; before, it copied the fp32 logits of several sequences
without each one's last (loss/loss_utils.py, `ForCausalLMLoss`)."""

GROUPS_EXPERTS = (5, 0)
"""The first transformers that runs all experts of a layer together, on stacked weights; before, one by one
(modeling_mixtral.py, `MixtralSparseMoeBlock.forward`)."""

REENTERS = (5, 0)
"""The first transformers whose checkpointing isn't reentrant by default (modeling_utils.py,
`gradient_checkpointing_enable`)."""


_VERSION = re.compile(
    r"v?([0-9]{1,9}(?:\.[0-9]{1,9})*)(?:[.-]?(?:a|b|rc|dev|post)[0-9]*)*(?:\+[a-z0-9.]+)?", re.ASCII
)
_PARTS = 3


def numbers(text: str) -> tuple[int, ...]:
    """Return the numbers of a version such as 5, 0.43.1 or 5.0.0rc1 (which counts as 5.0); () if it isn't one."""
    match = _VERSION.fullmatch(text)
    if match is None:
        return ()
    found = tuple(map(int, match[1].split(".")))
    return (*found, *[0] * (_PARTS - len(found)))
