"""What a family declares: how its config.json is read, and its other names."""

from __future__ import annotations

from types import MappingProxyType

from accel_config.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from accel_estimate.model.blueprint import Blueprint
    from accel_estimate.model.families.config_json import ConfigJson

_NONE: Mapping[str, Any] = MappingProxyType({})


class Family(Record):
    """One `model_type` of transformers.

    `read` makes a blueprint of its config.json. `defaults` are those of its config class that memory depends on:
    transformers saves of a nested config (the `text_config` of LLaVA or Gemma 3) only what differs from them.
    `gguf` is what a GGUF file calls the family if that isn't the `model_type`.
    """

    read: Callable[[ConfigJson], Blueprint]
    defaults: Mapping[str, Any] = _NONE
    gguf: str = ""
