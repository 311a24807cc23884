"""How a model is served."""

from __future__ import annotations

from accel_config.record import Record
from accel_estimate.devices import cards
from accel_estimate.errors import UsageError, check_number
from accel_estimate.formats.dtypes import TORCH_BYTES
from accel_estimate.model.sizes import QUANTIZATIONS


class Serving(Record):
    """The settings of a server: `context_len` tokens for each of `batch_size` sequences at once.

    `kv_dtype` is the type of the cache. `dtype` is the type of the weights, "stored" for that of their files.
    """

    context_len: int = 4096
    """Tokens in each sequence, prompt and answer together."""
    batch_size: int = 1
    """Sequences that are served at once."""
    kv_dtype: str = "bfloat16"
    """Number format of the cache of keys and values."""
    dtype: str = "stored"
    """Number format of the weights; ``stored``: that of their files."""
    tp: int = 1
    """Devices that each layer is divided over (tensor parallel)."""
    quantize: str = "none"
    """How matrices are packed, such as ``nf4``; ``none``: as `dtype` says."""
    max_new_tokens: int = 0
    """Tokens of `context_len` that the model generates; 0: the prompt may take them all."""
    prefill_chunk: int = 8192
    """Tokens of prompts that are read at once (vLLM's `max_num_batched_tokens` on large GPUs); 0: whole prompts."""
    card: str = ""
    """The kind of device, for its CUDA context; empty: any that computes."""

    @property
    def prompts(self) -> int:
        """Tokens of all prompts together."""
        return self.batch_size * (self.context_len - self.max_new_tokens)

    @property
    def weights(self) -> str:
        """In which type the weights are, in words."""
        if self.quantize != "none":
            return f"packed as {self.quantize}"
        return "as stored" if self.dtype == "stored" else f"in {self.dtype}"


def check(how: Serving) -> None:
    """Check that the settings are possible.

    Raises:
        UsageError: a number is too small, or a type isn't known.

    """
    for name in ("context_len", "batch_size", "tp"):
        check_number(name, getattr(how, name), 1)
    for name in ("max_new_tokens", "prefill_chunk"):
        check_number(name, getattr(how, name), 0)
    if how.max_new_tokens >= how.context_len:
        raise UsageError(
            f"--max_new_tokens {how.max_new_tokens}: leaves no prompt in --context_len {how.context_len}"
        )
    if how.quantize != "none" and how.quantize not in QUANTIZATIONS:
        raise UsageError(f"--quantize: {how.quantize!r} isn't known; use one of {', '.join(QUANTIZATIONS)}")
    if how.card and cards.named(how.card) is None:
        raise UsageError(cards.UNKNOWN)
    if how.kv_dtype not in TORCH_BYTES:
        raise UsageError(f"--kv_dtype: {how.kv_dtype!r} isn't a known type; use one of {', '.join(TORCH_BYTES)}")
