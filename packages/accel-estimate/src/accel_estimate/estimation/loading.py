"""From a model's name to its tensors, without reading its weights."""

from __future__ import annotations

import os

from accel_estimate.errors import HubError, NoWeightsError
from accel_estimate.formats.dtypes import TORCH_TO_STORED
from accel_estimate.formats.tensors import Listing, gather, total
from accel_estimate.model import checkpoint
from accel_estimate.sources import local

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from accel_estimate.model.checkpoint import Model


def load(  # noqa: PLR0913 - all but the name are optional, and given by name
    name: str,
    *,
    revision: str = "main",
    file: str | None = None,
    library: str | None = None,
    trust_remote_code: bool = False,
    progress: Callable[[int, int], None] | None = None,
    near: bool = False,
) -> Model:
    """Return what a model's files hold, without reading its weights.

    `name` is a folder, a .safetensors or .gguf file, or a repository (OWNER/NAME) on the Hub. The tensors come from
    the first of these that describes them: the headers of the weight files; config.json, for the families in
    `families.FAMILIES`; the model's own code in transformers or timm (`library`), on the meta device. `progress` is
    called with (headers read, headers). `near`: nothing is fetched; a repository must be in the Hub's cache.

    Raises:
        EstimateError: with one message; `status` is 2 if the user can fix it, 1 otherwise.

    """
    place = local.find(name)
    if place is None and near:
        place = local.cached(local.hub_cache(os.environ), name, revision)
        if place is None:
            raise HubError(f"{name} ({revision}) isn't a folder, nor in the Hub's cache")
    if place is None:
        from accel_estimate.sources.hub import repository

        place = repository.find(name, revision, progress)
    model = checkpoint.read(place, file)
    if not model.tensors and not model.origin:
        return _described(model, revision, library, trust_remote_code=trust_remote_code)
    header = model.config.get("gguf")
    if not isinstance(header, dict):
        return model
    from accel_estimate.model.gguf_config import translated

    return model.replace(config=translated(header, model.tensors))  # pyright: ignore[reportUnknownArgumentType]


def _described(model: Model, revision: str, library: str | None, *, trust_remote_code: bool) -> Model:
    """Return a model without readable weights, with the tensors that its config.json or its code describe."""
    from accel_estimate.model import families, parameters

    blueprint = families.of(model) if library is None or not trust_remote_code else None
    if blueprint is not None and not blueprint.guessed and "text_config" not in model.config:
        dtype = TORCH_TO_STORED.get(str(model.config.get("torch_dtype") or model.config.get("dtype")), "F32")
        tensors, _ = gather([Listing.of(parameters.tensors(blueprint, dtype))])
        return model.replace(origin="config.json", tensors=tensors, stored_bytes=model.stored_bytes or total(tensors))
    chosen = library or model.library or ("transformers" if model.config.get("model_type") else None)
    if chosen is None:
        found = ".bin files contain no shapes" if model.stored_bytes else "there is no safetensors or GGUF file"
        raise NoWeightsError(
            f"{model.name}: {found}, and no config.json describes the model; for a transformers or timm model set "
            "--library_name"
        )
    from accel_estimate.model import meta

    tensors = meta.tensors(model.name, chosen, revision, trust_remote_code=trust_remote_code)
    return model.replace(
        origin="meta device", tensors=tensors, library=chosen, stored_bytes=model.stored_bytes or total(tensors)
    )
