"""A model's tensors as its files name them, and the sums that need nothing else."""

import math
import re
from collections.abc import Iterable
from typing import NamedTuple

_INDEXED = re.compile(r"^(.*?\.\d+)\.")


class Tensor(NamedTuple):
    """One tensor of a checkpoint: `nbytes` is what it takes in its file, `shape` is as stored."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    nbytes: int

    @property
    def elements(self) -> int:
        """How many elements are stored (packed ones count as they are stored)."""
        return math.prod(self.shape)

    @property
    def module(self) -> str:
        """The module that owns it: the name up to its last dot."""
        return self.name.rpartition(".")[0]

    @property
    def block(self) -> str:
        """The repeated block it belongs to (`model.layers.7`), or "" when it is in none."""
        match = _INDEXED.match(self.name)
        return match[1] if match else ""


class Group(NamedTuple):
    """A part of a model with the bytes that it takes."""

    name: str
    nbytes: int


def total(tensors: Iterable[Tensor]) -> int:
    """Sum the stored bytes."""
    return sum(tensor.nbytes for tensor in tensors)


def by_dtype(tensors: Iterable[Tensor]) -> dict[str, int]:
    """Sum the stored bytes of each type, largest first."""
    sums: dict[str, int] = {}
    for tensor in tensors:
        sums[tensor.dtype] = sums.get(tensor.dtype, 0) + tensor.nbytes
    return dict(sorted(sums.items(), key=lambda item: -item[1]))


def component(name: str) -> str:
    """Name the component that a tensor belongs to.

    Files of a pipeline are read as `vae/decoder.conv.weight`: what stands before the slash. In a single model it is
    the first part of the dotted name, or the second where the first is the wrapper `model` or `transformer`.
    """
    folder, slash, rest = name.rpartition("/")
    if slash:
        return folder
    parts = rest.split(".")
    if parts[2:] and parts[0] in ("model", "transformer") and not parts[1].isdigit():
        return ".".join(parts[:2])
    return parts[0]


def by_component(tensors: Iterable[Tensor]) -> dict[str, int]:
    """Sum the stored bytes of each component, in the order of the files."""
    sums: dict[str, int] = {}
    for tensor in tensors:
        part = component(tensor.name)
        sums[part] = sums.get(part, 0) + tensor.nbytes
    return sums
