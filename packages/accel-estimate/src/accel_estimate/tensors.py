"""A model's tensors as its files name them, and the sums that need nothing else."""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import NamedTuple

_INDEXED = re.compile(r"^(.*?\.\d+)\.")
# Of nine digits at most, so that a name with a star isn't much shorter than without.
_EXPERT = re.compile(r"experts\.(?:expert_)?[0-9]{1,9}+(?=\.)")
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

    def times(self, copies: int) -> "Tensor":
        """Count it so many times."""
        return self._replace(nbytes=self.nbytes * copies, copies=copies)

    def one(self) -> "Tensor":
        """Count it once."""
        return self._replace(nbytes=self.nbytes // self.copies, copies=1)

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


class Listing(NamedTuple):
    """The tensors of one file: there may be a hundred thousand of them, of few kinds.

    `kinds` stand for all that are alike but for the number of their expert; `each` goes through the tensors one by
    one. `hashes`, where they are known, are of all that the file says of each but its place.
    """

    kinds: Sequence[Tensor]
    each: Callable[[], Iterable[Tensor]]
    hashes: Sequence[int] = ()

    @classmethod
    def of(cls, tensors: Sequence[Tensor]) -> "Listing":
        """List tensors, each counting one."""
        names, _ = starred([tensor.name for tensor in tensors])
        counts = Counter(tensor._replace(name=name) for name, tensor in zip(names, tensors, strict=True))
        return cls([kind.times(copies) for kind, copies in counts.items()], lambda: tensors)

    @property
    def nbytes(self) -> int:
        """What all of them take in the file."""
        return total(self.kinds)

    def below(self, folder: str) -> "Listing":
        """Put the name of a folder before all names."""

        def named(tensors: Iterable[Tensor]) -> list[Tensor]:
            return [tensor._replace(name=f"{folder}/{tensor.name}") for tensor in tensors]

        return Listing(named(self.kinds), lambda: named(self.each()), self.hashes)


def gather(listings: Iterable[Listing]) -> tuple[tuple[Tensor, ...], int]:
    """Make one model of what its files hold; tell also how many tensors a further file repeats: they count once.

    All that is said of an expert is said of every expert of its block, so that they become one tensor here.
    """
    listed, repeats = list(listings), 0
    if not _are_different(listed):
        seen: set[str] = set()
        for place, listing in enumerate(listed):
            tensors = list(listing.each())
            new = [tensor for tensor in tensors if tensor.name not in seen]
            repeats += len(tensors) - len(new)
            listed[place] = Listing.of(new)
            seen.update(tensor.name for tensor in new)
    copies: Counter[Tensor] = Counter()
    for kind in chain.from_iterable(listing.kinds for listing in listed):
        copies[kind.one()] += kind.copies
    return tuple(kind.times(count) for kind, count in copies.items()), repeats


def _are_different(listings: Sequence[Listing]) -> bool:
    """Whether it is certain that no two files have a tensor of one name.

    So it is where no two have a kind of one name; or else where all that is said of each tensor differs, and that
    isn't for what follows the name.
    """
    named = [{kind.name for kind in listing.kinds} for listing in listings]
    names = set[str]().union(*named)
    if len(names) == sum(map(len, named)):
        return True
    kinds = [kind for listing in listings for kind in listing.kinds]
    alike = len(names) == len({kind[:3] for kind in kinds})
    hashes = set(chain.from_iterable(listing.hashes for listing in listings))
    return alike and len(hashes) == sum(kind.copies for kind in kinds)


def starred(lines: Sequence[str]) -> tuple[Sequence[str], Counter[str]]:
    """Put a star for the number of an expert, where that is all that tells it from the others of its block.

    Each line begins with a name, and what follows the name, if anything, has no star. Also counts the new lines.
    """
    text = "\n".join(lines)
    found = _EXPERT.sub("experts.*", text).split("\n") if "experts." in text else lines
    if len(found) != len(lines):  # a name with a line break
        found = [line if "\n" in line else _EXPERT.sub("experts.*", line) for line in lines]
    counts = Counter(found)
    if odd := {line for line in counts if "*" in line and not _STARRED.match(line)}:
        found = [old if new in odd else new for old, new in zip(lines, found, strict=True)]
        counts = Counter(found)
    return found, counts


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
