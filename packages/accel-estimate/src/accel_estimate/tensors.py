"""A model's tensors as its files name them, and the sums that need nothing else."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import compress
from operator import itemgetter
from typing import NamedTuple

_INDEXED = re.compile(r"^(.*?\.\d+)\.")
_EXPERT = re.compile(r"experts\.(?:expert_)?\d+(?=\.)")
_STARRED = re.compile(r"[^*]*?\.\d+\.[^*]*experts\.\*\.")


class Tensor(NamedTuple):
    """One tensor of a checkpoint, or its equal `copies` in all experts of a block: `layers.7.experts.*.up.weight`.

    `shape` is as stored, of each of them; `nbytes` is what all of them take in their files.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    nbytes: int
    copies: int = 1

    @property
    def elements(self) -> int:
        """How many elements are stored (packed ones count as they are stored)."""
        return math.prod(self.shape) * self.copies

    @property
    def module(self) -> str:
        """The module that owns it: the name up to its last dot."""
        return self.name.rpartition(".")[0]

    @property
    def block(self) -> str:
        """The repeated block it belongs to (`model.layers.7`), or "" when it is in none."""
        match = _INDEXED.match(self.name)
        return match[1] if match else ""


class Form(NamedTuple):
    """What a file says of a tensor, but for its name."""

    dtype: str
    shape: tuple[int, ...]
    nbytes: int


class Listing(NamedTuple):
    """The tensors of one file in two columns: there may be a hundred thousand of them."""

    names: Sequence[str]
    forms: Sequence[Form]

    @classmethod
    def of(cls, tensors: Sequence[Tensor]) -> "Listing":
        """Turn tensors, each counting one, into columns."""
        return cls([tensor.name for tensor in tensors], [Form(*tensor[1:4]) for tensor in tensors])

    @property
    def nbytes(self) -> int:
        """What all of them take in the file."""
        return sum(map(itemgetter(2), self.forms))

    def tensors(self) -> Iterator[Tensor]:
        """Go through the tensors one by one."""
        return (Tensor(name, *form) for name, form in zip(*self, strict=True))

    def without(self, names: set[str]) -> "Listing":
        """Leave out the tensors of these names."""
        kept = [name not in names for name in self.names]
        return Listing(list(compress(self.names, kept)), list(compress(self.forms, kept)))


def gather(listings: Iterable[Listing]) -> tuple[tuple[Tensor, ...], int]:
    """Make one model of what its files hold; tell also how many tensors a further file repeats: they count once.

    All that is said of an expert is said of every expert of its block, so that they become one tensor here.
    """
    kinds: Counter[tuple[str, Form]] = Counter()
    seen: set[str] = set()
    repeats = 0
    for listing in listings:
        names, forms = listing
        if not seen.isdisjoint(names):
            repeats += len(seen.intersection(names))
            names, forms = listing.without(seen)
        seen.update(names)
        kinds.update(zip(_starred(names), forms, strict=True))
    return tuple(
        Tensor(name, form.dtype, form.shape, form.nbytes * count, count) for (name, form), count in kinds.items()
    ), repeats


def _starred(names: Sequence[str]) -> Sequence[str]:
    """Put a star for the number of an expert, where that is all that tells it from the others of its block."""
    text = "\n".join(names)
    if "experts." not in text:
        return names
    starred = _EXPERT.sub("experts.*", text).split("\n")
    alike = len(starred) == len(names) and all(_STARRED.match(name) for name in set(starred) if "*" in name)
    return starred if alike else names


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
