"""A model as its repository describes it: the tensors of its weight files and its config.json."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, cast

from accel_estimate import tensors as sums
from accel_estimate.checkpoint import INDEX, Choice, choose
from accel_estimate.errors import CorruptFileError
from accel_estimate.formats import safetensors
from accel_estimate.source import Source
from accel_estimate.tensors import Listing, Tensor

MAX_CONFIG = 5_000_000
_BIN = (".bin", ".pt", ".pth", ".ckpt")


class Repository(Protocol):
    """A folder of files, here or on the Hub."""

    @property
    def name(self) -> str:
        """What the user called it."""
        ...

    @property
    def files(self) -> Mapping[str, int]:
        """Every file's name and size in bytes."""
        ...

    @property
    def library(self) -> str | None:
        """The library that the model is made for, where the repository says so."""
        ...

    def open(self, name: str) -> Source:
        """Open one file for reading by position."""
        ...

    def map(self, work: Callable[[str], Any], names: Sequence[str]) -> list[Any]:
        """Do the work for every name, in whatever way is fastest, and give the results in order."""
        ...


class Model(NamedTuple):
    """What is known of a model's weights.

    `origin` tells from where: "safetensors" or "gguf" (exact, as stored), "config.json" or "meta device" (exact
    shapes, in the type that the config states). `stored_bytes` is what the weight files hold.
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
        """Whether the bytes are those of files that were looked at."""
        return self.origin in ("safetensors", "gguf")


def read(repository: Repository, wanted: str | None = None) -> Model:
    """Read the headers of a repository's weights, and its config.json.

    A model without readable weights comes back without tensors, for `layout` or `meta` to fill in.

    Raises:
        EstimateError: see `checkpoint.choose`, `formats` and the repository's own failures.

    """
    choice = choose(repository.files, wanted)
    if choice.index_file:
        choice = Choice(choice.format, _indexed(repository, choice.index_file))
    jobs = [name for name in ("config.json",) if name in repository.files] + list(choice.files)
    results = repository.map(
        lambda name: _config(repository, name) if name == "config.json" else _weights(repository, name), jobs
    )
    config: dict[str, Any] = results.pop(0) if jobs[:1] == ["config.json"] else {}
    if not choice.format:
        pickled = sum(size for name, size in repository.files.items() if name.endswith(_BIN) and "/" not in name)
        return Model(repository.name, "", (), pickled, config, repository.library)
    listings = [listing for listing, _ in results]
    for _, values in results:
        config = config or values
    found, repeats = sums.gather(listings)
    notes = (f"{repeats} tensors are stored in more than one shard; counted once.",) if repeats else ()
    stored = sum(listing.nbytes for listing in listings)
    return _without_ties(Model(repository.name, choice.format, found, stored, config, repository.library, notes))


def _weights(repository: Repository, name: str) -> tuple[Listing, dict[str, Any]]:
    source, folder = repository.open(name), name.rpartition("/")[0]
    values: dict[str, Any] = {}
    if name.endswith(".gguf"):
        from accel_estimate.formats import gguf

        header = gguf.read(source)
        listing, values = Listing.of(header.tensors), {"gguf": dict(header.values)}
    else:
        listing = safetensors.read(source)
    return listing.below(folder) if folder else listing, values


def _config(repository: Repository, name: str) -> dict[str, Any]:
    return read_json(repository.open(name), MAX_CONFIG)


def read_json(source: Source, limit: int) -> dict[str, Any]:
    """Read a small JSON object.

    Raises:
        CorruptFileError: it is longer than `limit` bytes, or no JSON object.

    """
    if source.size > limit:
        raise CorruptFileError(f"{source.name}: {source.size:,} bytes; more than {limit:,} is refused.")
    try:
        value = json.loads(source.read(0, source.size))
    except (ValueError, RecursionError):
        raise CorruptFileError(f"{source.name}: is not valid JSON.") from None
    if not isinstance(value, dict):
        raise CorruptFileError(f"{source.name}: is not a JSON object.")
    return cast("dict[str, Any]", value)


def _indexed(repository: Repository, name: str) -> tuple[str, ...]:
    files = read_json(repository.open(name), 50_000_000).get("weight_map")
    named = set(cast("dict[str, Any]", files).values()) if isinstance(files, dict) else set[Any]()
    shards = sorted(shard for shard in named if isinstance(shard, str))
    if not shards or len(shards) < len(named):
        raise CorruptFileError(f"{name}: has no weight_map that names files.")
    if missing := [shard for shard in shards if shard not in repository.files]:
        raise CorruptFileError(f"{INDEX} names {missing[0]}, which is not there; fetch the model again.")
    return tuple(shards)


_EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "word_embeddings.weight", "shared.weight", "embed_in.weight")
_HEADS = ("lm_head.weight", "embed_out.weight", "decoder.embed_tokens.weight", "encoder.embed_tokens.weight")


def _without_ties(model: Model) -> Model:
    """Count once what the model loads once: an output head stored beside the embeddings that it is tied to.

    transformers drops the copy on loading when `tie_word_embeddings` holds. `stored_bytes` keeps counting what the
    files hold.
    """
    text = model.config.get("text_config")
    nested = cast("dict[str, Any]", text) if isinstance(text, dict) else {}
    copies = (
        _copies(model.tensors)
        if model.config.get("tie_word_embeddings", nested.get("tie_word_embeddings")) is True
        else []
    )
    if not copies:
        return model
    note = f"{copies[0].name} is stored, but tied to the embeddings; counted once."
    kept = tuple(tensor for tensor in model.tensors if tensor not in copies)
    return model._replace(tensors=kept, notes=(*model.notes, note))


def _copies(tensors: Sequence[Tensor]) -> list[Tensor]:
    ordered = sorted(tensors, key=lambda tensor: tensor.name.endswith(_HEADS))  # the embeddings themselves first
    embeddings = [tensor for tensor in ordered if tensor.name.endswith(_EMBEDDINGS)]
    if not embeddings:
        return []
    first = embeddings[0]
    return [t for t in ordered if t.name != first.name and t.name.endswith(_HEADS) and t.shape == first.shape]
