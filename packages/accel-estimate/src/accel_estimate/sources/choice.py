"""Which of a repository's files hold its weights. Pure: names in, a choice out."""

from __future__ import annotations

import re

from accel_config.record import Record
from accel_estimate.errors import CorruptFileError, ModelNotFoundError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_SHARD = re.compile(r"(.*)-(\d{5,6})-of-(\d{5,6})(\.[a-z]+)")
_PREFERRED = ("model", "diffusion_pytorch_model", "pytorch_model", "adapter_model")
_PIPELINES = ("model_index.json", "modules.json")
_SHOWN = 12
INDEX = "model.safetensors.index.json"


class Choice(Record):
    """The weight files to read: `format` is "safetensors", "gguf", or "" if there are none.

    `index_file` is set instead of `files` if only the index says which files belong together.
    """

    format: str
    files: tuple[str, ...] = ()
    index_file: str = ""


def choose(files: Iterable[str], wanted: str | None = None) -> Choice:
    """Return the choice among the repository's file names; `wanted` is the file that the user named.

    Order: the named file; every component of a pipeline (diffusers, sentence-transformers); `model.safetensors` or
    its shards at the top; any other single set of safetensors files; a single set of GGUF files.

    Raises:
        ModelNotFoundError: the named file doesn't exist.
        UsageError: there are several sets of files, and none is preferred.
        CorruptFileError: a shard is missing.

    """
    names = sorted(files)
    if wanted is not None:
        return _named(names, wanted)
    for suffix in ("safetensors", "gguf"):
        weights = [name for name in names if name.endswith("." + suffix)]
        chosen = _components(weights, pipeline=any(name in names for name in _PIPELINES))
        if not chosen and suffix == "safetensors" and INDEX in names:
            return Choice(suffix, index_file=INDEX)
        if chosen:
            return Choice(suffix, tuple(chosen))
    return Choice("")


def _named(names: list[str], wanted: str) -> Choice:
    suffix = wanted.rpartition(".")[2]
    if suffix not in ("safetensors", "gguf"):
        raise UsageError(f"--file {wanted}: only .safetensors and .gguf files can be read")
    if wanted not in names:
        found = [name for name in names if name.endswith((".safetensors", ".gguf"))]
        raise ModelNotFoundError(f"--file {wanted}: no such file; the weight files are {_listed(found)}")
    shard = _SHARD.fullmatch(wanted)
    return Choice(suffix, tuple(_sets([n for n in names if n.endswith(suffix)])[shard[1]] if shard else (wanted,)))


def _components(weights: list[str], *, pipeline: bool) -> list[str]:
    folders: dict[str, list[str]] = {}
    for name in weights:
        folder, _, _ = name.rpartition("/")
        if not folder or (pipeline and "/" not in folder):
            folders.setdefault(folder, []).append(name)
    if not folders and weights:  # none at the top: one folder may hold them all, as in GGUF repositories
        folders = {"": weights}
    if pipeline and len(folders) > 1 and "modules.json" not in folders and "" in folders and _is_bundle(folders):
        del folders[""]  # a pipeline saved both in parts and as one file: the parts are loaded
    return [name for folder in folders.values() for name in _one_set(folder)]


def _is_bundle(folders: Mapping[str, list[str]]) -> bool:
    return any(
        name.rpartition("/")[0] in ("unet", "transformer", "vae") for names in folders.values() for name in names
    )


def _sets(names: list[str]) -> dict[str, list[str]]:
    """Return the shards of one file under its base name; every other file is a set of its own."""
    found: dict[str, list[str]] = {}
    for name in names:
        shard = _SHARD.fullmatch(name)
        found.setdefault(shard[1] if shard else name.rpartition(".")[0], []).append(name)
    for base, members in found.items():
        shard = _SHARD.fullmatch(members[0])
        if shard and len(members) < int(shard[3]):
            have = {int(match[2]) for match in map(_SHARD.fullmatch, members) if match}
            missing = sorted(set(range(1, min(int(shard[3]), 100_000) + 1)) - have)
            raise CorruptFileError(
                f"{base}: shard {missing[0]} of {int(shard[3])} is missing"
                f" ({len(missing)} in all); fetch the model again"
            )
    return found


def _one_set(names: list[str]) -> list[str]:
    sets = _sets(names)
    plain = {base: members for base, members in sets.items() if not _is_variant(base, sets)}
    for base in _PREFERRED:
        for candidate, members in plain.items():
            if candidate.rpartition("/")[2] == base:
                return members
    if len(plain) > 1:
        raise UsageError(
            f"there are several weight files: {_listed([m[0] for m in plain.values()])}; choose one with --file"
        )
    return next(iter(plain.values()))


def _is_variant(base: str, sets: Mapping[str, list[str]]) -> bool:
    """Return whether it has the same weights again: in another type (`unet.fp16`), or as first released."""
    stem, dot, _ = base.rpartition(".")
    return bool(dot and stem in sets) or (base.startswith("consolidated") and len(sets) > 1)


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:_SHOWN])
    return f"{shown} and {len(names) - _SHOWN} more" if len(names) > _SHOWN else shown or "none"
