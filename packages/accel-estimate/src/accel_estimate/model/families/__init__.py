"""Known model families: their config.json is enough to describe every layer.

To add a family, write its reader and its declaration in the file of its kind here. Nothing else needs to know it.
Keys, defaults and shapes are those of transformers (src/transformers/models/*/configuration_*.py and modeling_*.py).
The tests hold each family's parameter count against the library's own.
"""

from __future__ import annotations

from accel_estimate.errors import CorruptFileError
from accel_estimate.model.families import encoder_decoders, encoders, gpt, llama, mixtures, state_space
from accel_estimate.model.families.config_json import ConfigJson

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from accel_estimate.model.blueprint import Blueprint, Layer
    from accel_estimate.model.checkpoint import Model
    from accel_estimate.model.families.family import Family

FAMILIES: Mapping[str, Family] = {
    **llama.FAMILIES,
    **mixtures.FAMILIES,
    **gpt.FAMILIES,
    **encoders.FAMILIES,
    **encoder_decoders.FAMILIES,
    **state_space.FAMILIES,
}

_NESTED = ("text_config", "llm_config", "language_config")
_DECODER = ("hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size")


def read(config: Mapping[str, Any]) -> Blueprint | None:
    """Return the blueprint that a config.json describes.

    A model of several parts (an image encoder in front of a language model) is read by its `text_config`. A family
    that isn't known is read as a plain decoder if it has a decoder's keys; otherwise the result is None.

    Raises:
        CorruptFileError: a value is missing or impossible.

    """
    settings = ConfigJson(_language_model(config))
    family = settings.text("model_type")
    if family in FAMILIES:
        return _shared(FAMILIES[family].read(settings).replace(family=family))
    if all(settings.values.get(key) for key in _DECODER):
        return _shared(llama.read(settings).replace(family=family or "unknown", guessed=True))
    return None


def of(model: Model) -> Blueprint | None:
    """Return the blueprint of a model; see `read`.

    Raises:
        CorruptFileError: a value of its config.json is missing or impossible.

    """
    try:
        return read(model.config)
    except CorruptFileError as error:
        raise CorruptFileError(f"{model.name}: {error}") from None


def _shared(blueprint: Blueprint) -> Blueprint:
    """Return the blueprint with equal layers as one object, so that what is worked out of one holds for all."""
    seen: dict[Layer, Layer] = {}
    decoder = blueprint.decoder.replace(layers=tuple(seen.setdefault(it, it) for it in blueprint.decoder.layers))
    return blueprint.replace(decoder=decoder)


def _language_model(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the config of the language model inside `config`, with its class's defaults, or `config` itself."""
    for key in _NESTED:
        nested: Any = config.get(key)
        if isinstance(nested, dict) and nested.get("model_type"):  # pyright: ignore[reportUnknownMemberType]
            inner: dict[str, Any] = nested  # pyright: ignore[reportUnknownVariableType]
            family = FAMILIES.get(str(inner["model_type"]))
            tied = {"tie_word_embeddings": config.get("tie_word_embeddings")}
            return {**(family.defaults if family else tied), **tied, **inner}
    return config
