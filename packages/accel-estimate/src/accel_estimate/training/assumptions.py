"""What differs between implementations of the same recipe."""

from __future__ import annotations

from accel_config.record import Record


class Assumptions(Record):
    """Properties of an implementation.

    `compiled`: torch.compile fuses the whole model. `keeps_inputs`: packed products keep their inputs (bitsandbytes
    before 0.44). `foreach`: the optimizer makes one temporary tensor for each one that it steps.
    `keeps_fp32_logits`: the output also holds the fp32 copy of the logits (transformers before 4.45).
    `repeats_keys`: keys and values are repeated for every query head before attention.
    """

    compiled: bool = False
    keeps_inputs: bool = False
    foreach: bool = False
    keeps_fp32_logits: bool = False
    repeats_keys: bool = False
