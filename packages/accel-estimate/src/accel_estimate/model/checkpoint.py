"""A checkpoint as its repository describes it: the tensors of its weight files and its config.json."""

from __future__ import annotations

from accel_config.record import Record
from accel_estimate.errors import CorruptFileError
from accel_estimate.formats import json_object, safetensors
from accel_estimate.formats.tensors import Listing, gather
from accel_estimate.model.ties import without_ties
from accel_estimate.sources.choice import INDEX, Choice, choose
from accel_estimate.sources.source import Allowance, Metered

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from accel_estimate.formats.tensors import Tensor
    from accel_estimate.sources.repository import Repository

_MAX_CONFIG = 5_000_000  # bytes
_MAX_INDEX = 2**25  # that of two hundred thousand tensors has 23 MB
_MAX_HEADERS = 2**26
"""The most bytes of all headers of a model: those of a model with two hundred thousand tensors have half of them."""
_BIN = (".bin", ".pt", ".pth", ".ckpt")


class Model(Record):
    """What is known of a model's weights.

    `origin` is where this comes from: "safetensors" or "gguf" (exact, as stored), "config.json" or "meta device"
    (exact shapes, in the type that the config names). `stored_bytes` are the bytes in the weight files.
    """

    name: str
    origin: str
    tensors: tuple[Tensor, ...]
    stored_bytes: int
    config: Mapping[str, Any]
    library: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def exact(self) -> bool:
        """Whether the bytes come from the headers of weight files."""
        return self.origin in ("safetensors", "gguf")


def read(repository: Repository, wanted: str | None = None) -> Model:
    """Return what the headers of a repository's weights and its config.json describe.

    A model without readable weights has no tensors; `estimation.loading` fills them in. `wanted` is the weight file
    that the user named.

    Raises:
        EstimateError: see `choice.choose`, `formats` and the repository's own failures.

    """
    choice = choose(repository.files, wanted)
    if choice.index_file:
        (shards,) = repository.map(lambda name: _indexed(repository, name), [choice.index_file])
        choice = Choice(choice.format, shards)
    jobs = [name for name in ("config.json",) if name in repository.files] + list(choice.files)
    allowance = Allowance(_MAX_HEADERS, f"the headers of {repository.name}")
    results = repository.map(
        lambda name: _config(repository, name) if name == "config.json" else _weights(repository, name, allowance),
        jobs,
    )
    config: dict[str, Any] = results.pop(0) if jobs[:1] == ["config.json"] else {}
    if not choice.format:
        pickled = sum(size for name, size in repository.files.items() if name.endswith(_BIN) and "/" not in name)
        return Model(repository.name, "", (), pickled, config, repository.library)
    listings = [listing for listing, _ in results]
    for _, values in results:
        config = config or values
    tensors, repeats = gather(listings)
    notes = (f"{repeats} tensors are stored in more than one shard; counted once.",) if repeats else ()
    tensors, dropped = without_ties(tensors, config)
    if dropped:
        notes += (f"{dropped} is stored, but tied to the embeddings; counted once.",)
    stored = sum(listing.nbytes for listing in listings)
    return Model(repository.name, choice.format, tensors, stored, config, repository.library, notes)


def _weights(repository: Repository, name: str, allowance: Allowance) -> tuple[Listing, dict[str, Any]]:
    """Return the tensors of one weight file, and a GGUF file's own description of its model under "gguf"."""
    source, folder = Metered(repository.open(name), allowance), name.rpartition("/")[0]
    values: dict[str, Any] = {}
    if name.endswith(".gguf"):
        from accel_estimate.formats import gguf

        header = gguf.read(source)
        listing, values = Listing.of(header.tensors), {"gguf": dict(header.values)}
    else:
        listing = safetensors.read(source)
    return listing.below(folder) if folder else listing, values


def _config(repository: Repository, name: str) -> dict[str, Any]:
    config = json_object.read(repository.open(name), _MAX_CONFIG)
    if not isinstance(config.get("model_type"), str | None):
        raise CorruptFileError(f"{name}: model_type = {config['model_type']!r} isn't text")
    return config


def _indexed(repository: Repository, name: str) -> tuple[str, ...]:
    """Return the files that an index names.

    Raises:
        CorruptFileError: the index names no files, or files that don't exist.

    """
    weight_map: Any = json_object.read(repository.open(name), _MAX_INDEX).get("weight_map")
    named: set[Any] = set(weight_map.values()) if isinstance(weight_map, dict) else set()  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
    shards = sorted(shard for shard in named if isinstance(shard, str))
    if not shards or len(shards) < len(named):
        raise CorruptFileError(f"{name}: has no weight_map with names of files")
    if missing := [shard for shard in shards if shard not in repository.files]:
        raise CorruptFileError(f"{INDEX} names {missing[0]}, which doesn't exist; fetch the model again")
    return tuple(shards)
