"""A model's tensors as its files name them, and sums of their bytes."""

from __future__ import annotations

import math
import re
from collections import Counter
from itertools import chain
from typing import NamedTuple

from accel_config.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

_INDEXED = re.compile(r"^(.*?\.\d+)\.")
# Of nine digits at most, so that a name with a star isn't much shorter than without.
_EXPERT = re.compile(r"experts\.(?:expert_)?[0-9]{1,9}+(?=\.)")
_STARRED = re.compile(r"[^*]*?\.\d+\.[^*]*experts\.\*\.")


class Tensor(NamedTuple):
    """One tensor of a checkpoint, or its equal `copies` in all experts of a block: `layers.7.experts.*.up.weight`.

    `shape` is that of one of them as stored; `nbytes` are the bytes of all of them in their files.

    This is a named tuple rather than a `Record` because a model can have a hundred thousand tensors that are made,
    hashed and compared: a record takes three to six times as long for each of these.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    nbytes: int
    copies: int = 1

    def times(self, copies: int) -> Tensor:
        """Return it counted `copies` times."""
        return self._replace(nbytes=self.nbytes * copies, copies=copies)

    def one(self) -> Tensor:
        """Return it counted once."""
        return self._replace(nbytes=self.nbytes // self.copies, copies=1)

    @property
    def elements(self) -> int:
        """The number of stored elements of all copies (packed ones count as they are stored)."""
        return math.prod(self.shape) * self.copies

    @property
    def module(self) -> str:
        """The module that owns it: the name up to its last dot."""
        return self.name.rpartition(".")[0]

    @property
    def block(self) -> str:
        """The repeated block that contains it (`model.layers.7`), or "" if there is none."""
        match = _INDEXED.match(self.name)
        return match[1] if match else ""


class Listing(Record):
    """The tensors of one file: perhaps a hundred thousand, of few kinds.

    A kind stands for all tensors that differ only in the number of their expert. `each` lists the tensors one by
    one. `hashes`, if known, are one for each tensor, of everything in its entry but its place in the file.
    """

    kinds: Sequence[Tensor]
    each: Callable[[], Iterable[Tensor]]
    hashes: Sequence[int] = ()

    @classmethod
    def of(cls, tensors: Sequence[Tensor]) -> Listing:
        """Return the listing of `tensors`, each of which counts once."""
        names, _ = starred([tensor.name for tensor in tensors])
        counts = Counter(tensor._replace(name=name) for name, tensor in zip(names, tensors, strict=True))
        return cls([kind.times(copies) for kind, copies in counts.items()], lambda: tensors)

    @property
    def nbytes(self) -> int:
        """The bytes of all tensors in the file."""
        return total(self.kinds)

    def below(self, folder: str) -> Listing:
        """Return it with the name of a folder in front of all names."""

        def named(tensors: Iterable[Tensor]) -> list[Tensor]:
            return [tensor._replace(name=f"{folder}/{tensor.name}") for tensor in tensors]

        return Listing(named(self.kinds), lambda: named(self.each()), self.hashes)


def gather(listings: Iterable[Listing]) -> tuple[tuple[Tensor, ...], int]:
    """Return the tensors of a model with these files, and how many tensors are repeated in a further file.

    A repeated tensor counts once. Equal experts of a block become one tensor with copies.
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
    """Return whether it is certain that no two files have a tensor of the same name.

    That is so if no two files have a kind of the same name. It is also so if the entries of all tensors differ, and
    they don't differ only in what follows the name.
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
    """Return the lines with a star for the number of an expert, and how often each of the new lines occurs.

    Experts of one block then have the same name. Each line begins with a name; the rest of it, if any, has no star.
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


class Group(Record):
    """A part of a model, and its bytes as stored."""

    name: str
    nbytes: int


def total(tensors: Iterable[Tensor]) -> int:
    """Return the sum of the stored bytes."""
    return sum(tensor.nbytes for tensor in tensors)


def by_dtype(tensors: Iterable[Tensor]) -> dict[str, int]:
    """Return the stored bytes of each type, the largest first."""
    sums: dict[str, int] = {}
    for tensor in tensors:
        sums[tensor.dtype] = sums.get(tensor.dtype, 0) + tensor.nbytes
    return dict(sorted(sums.items(), key=lambda item: -item[1]))


def component(name: str) -> str:
    """Return the name of the component that contains a tensor.

    In a pipeline it is the folder: `vae` of `vae/decoder.conv.weight`. In a single model it is the first part of the
    dotted name, or the first two parts if the first is the wrapper `model` or `transformer`.
    """
    folder, slash, rest = name.rpartition("/")
    if slash:
        return folder
    parts = rest.split(".")
    if parts[2:] and parts[0] in ("model", "transformer") and not parts[1].isdigit():
        return ".".join(parts[:2])
    return parts[0]


def by_component(tensors: Iterable[Tensor]) -> dict[str, int]:
    """Return the stored bytes of each component, in the order of the files."""
    sums: dict[str, int] = {}
    for tensor in tensors:
        part = component(tensor.name)
        sums[part] = sums.get(part, 0) + tensor.nbytes
    return sums
