"""Tied weights: an output head that is stored with the embeddings that it is tied to."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from accel_estimate.formats.tensors import Tensor

_EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "word_embeddings.weight", "shared.weight", "embed_in.weight")
_HEADS = ("lm_head.weight", "embed_out.weight", "decoder.embed_tokens.weight", "encoder.embed_tokens.weight")


def without_ties(tensors: tuple[Tensor, ...], config: Mapping[str, Any]) -> tuple[tuple[Tensor, ...], str]:
    """Return the tensors without copies of the embeddings, and the name of the first copy ("" if there is none).

    transformers drops the copies on loading if `tie_word_embeddings` is set.
    """
    text: Any = config.get("text_config")
    inner: Any = text.get("tie_word_embeddings") if isinstance(text, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    if config.get("tie_word_embeddings", inner) is not True:
        return tensors, ""
    copies = _copies(tensors)
    if not copies:
        return tensors, ""
    return tuple(tensor for tensor in tensors if tensor not in copies), copies[0].name


def _copies(tensors: Sequence[Tensor]) -> list[Tensor]:
    ordered = sorted(tensors, key=lambda tensor: tensor.name.endswith(_HEADS))  # the embeddings themselves first
    embeddings = [tensor for tensor in ordered if tensor.name.endswith(_EMBEDDINGS)]
    if not embeddings:
        return []
    first = embeddings[0]
    return [t for t in ordered if t.name != first.name and t.name.endswith(_HEADS) and t.shape == first.shape]
