"""A model that only its own code can describe, built without weights on torch's meta device.

This imports torch and transformers or timm. It runs only if neither headers nor a known config.json are enough.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from accel_estimate.errors import CorruptFileError, UsageError
from accel_estimate.formats.dtypes import TORCH_TO_STORED
from accel_estimate.formats.tensors import Tensor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LIBRARIES = ("transformers", "timm")


def tensors(
    name: str, library: str, revision: str = "main", *, trust_remote_code: bool = False
) -> tuple[Tensor, ...]:
    """Build the model `name` with `library`; return its parameters and saved buffers, each once.

    Code of the repository itself runs only with `trust_remote_code`.

    Raises:
        UsageError: the library isn't known or isn't installed, or it can't build the model.
        CorruptFileError: the model has no parameters.

    """
    if library not in LIBRARIES:
        raise UsageError(f"{name}: {library} models can't be built; --library_name takes {' or '.join(LIBRARIES)}")
    if find_spec(library) is None or find_spec("torch") is None:
        from accel_config.showing.installing import command

        raise UsageError(
            f"{name}: its files don't contain its shapes; to build it without weights, install {library}: "
            f"{command(f'accel-estimate[{library}]')}"
        )
    import torch

    try:
        with torch.device("meta"):
            built = (
                _transformers(name, revision, trust=trust_remote_code) if library == "transformers" else _timm(name)
            )
    except Exception as error:
        text = str(error).strip().splitlines()
        trust = "; its own code runs only with --trust_remote_code" if "trust_remote_code" in str(error) else ""
        raise UsageError(
            f"{name}: {library} can't build it: {text[0] if text else type(error).__name__}{trust}"
        ) from None
    found: dict[int, Tensor] = {}
    for key, value in built.state_dict(keep_vars=True).items():  # without buffers that aren't saved
        dtype = TORCH_TO_STORED.get(str(value.dtype).removeprefix("torch."), "I64")
        found.setdefault(id(value), Tensor(key, dtype, tuple(value.shape), value.numel() * value.element_size()))
    if not found:
        raise CorruptFileError(f"{name}: {library} built a model without parameters")
    return tuple(found.values())


def _transformers(name: str, revision: str, *, trust: bool) -> Any:
    import transformers  # pyright: ignore[reportMissingImports]

    api: Any = transformers  # pyright: ignore[reportUnknownVariableType]
    config = api.AutoConfig.from_pretrained(name, revision=revision, trust_remote_code=trust)
    mapped: dict[str, str] = getattr(config, "auto_map", None) or {}
    own = next((key for key in mapped if key.startswith("AutoModelFor")), None)
    named = getattr(api, (config.architectures or [""])[0], None)
    if trust and own:
        return getattr(api, own).from_config(config, trust_remote_code=True)
    return named(config) if named is not None else api.AutoModel.from_config(config, trust_remote_code=trust)


def _timm(name: str) -> Any:
    import timm  # pyright: ignore[reportMissingImports]

    api: Any = timm  # pyright: ignore[reportUnknownVariableType]
    if Path(name).is_dir():
        name = f"local-dir:{name}"
    elif "/" in name and ":" not in name:
        name = f"hf-hub:{name}"
    return api.create_model(name, pretrained=False)
