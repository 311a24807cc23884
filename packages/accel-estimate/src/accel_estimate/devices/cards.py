"""The devices that are known by name: the size they are sold with, and what a program finds of it."""

from __future__ import annotations

import re

from accel_config.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class Card(Record):
    """A device: `sold` is the size on its box in GB, `given` what a program finds of it in GiB.

    `given` is total_memory of torch's device properties, as out-of-memory messages print it. It is less than the box
    promises because the driver and error correction keep some. `bf16`: whether it computes in bfloat16.
    """

    name: str
    sold: int
    given: float
    bf16: bool = True

    @property
    def fp8(self) -> bool:
        """Whether it computes in fp8."""
        return self.name in _FP8

    @property
    def small(self) -> bool:
        """Whether it runs about as many threads at once as an RTX 3090 (82 multiprocessors of 1,536), or fewer."""
        return self.name in _SMALL


CARDS: tuple[Card, ...] = (
    Card("t4", 16, 14.56, bf16=False), Card("v100-16gb", 16, 15.77, bf16=False),
    Card("v100", 32, 31.73, bf16=False), Card("p100", 16, 15.89, bf16=False), Card("l4", 24, 22.03),
    Card("a10", 24, 22.05), Card("a10g", 24, 21.98), Card("l40", 48, 44.39), Card("l40s", 48, 44.39),
    Card("a40", 48, 44.34), Card("a6000", 48, 47.41), Card("a100-40gb", 40, 39.39), Card("a100", 80, 79.14),
    Card("h100", 80, 79.10), Card("h100-nvl", 94, 93.0), Card("h200", 141, 139.72), Card("h20", 96, 95.0),
    Card("gh200", 96, 94.5), Card("b200", 180, 178.35), Card("rtx2080ti", 11, 10.76, bf16=False),
    Card("rtx3060", 12, 11.63), Card("rtx3070", 8, 7.78), Card("rtx3090", 24, 23.56), Card("rtx4070", 12, 11.56),
    Card("rtx4090", 24, 23.52), Card("rtx5090", 32, 31.36), Card("mi250x", 64, 63.98),
    Card("mi300x", 192, 191.45), Card("gaudi2", 96, 94.6), Card("tpu-v4", 32, 30.75), Card("tpu-v5e", 16, 15.75),
    Card("tpu-v5p", 95, 95.74),
)  # fmt: skip

_FP8 = frozenset(
    ("l4", "l40", "l40s", "h100", "h100-nvl", "h200", "h20", "gh200", "b200", "rtx4070", "rtx4090", "rtx5090",
     "mi300x", "gaudi2")
)  # fmt: skip

_SMALL = frozenset(
    ("t4", "p100", "l4", "a10", "a10g", "a40", "a6000", "rtx2080ti", "rtx3060", "rtx3070", "rtx3090", "rtx4070")
)

# What makers and people write around a name, as words; the last of them also without a blank.
_AROUND = re.compile(r"\b(nvidia|geforce|tesla|quadro|amd|instinct|google|hbm[0-9]e?|sxm[0-9]?|pcie)\b|(sxm|pcie)$")


UNKNOWN = f"--card: must be a known device ({', '.join(card.name for card in CARDS)})"


def named(text: str) -> Card | None:
    """Return the card of a name as people type it: "RTX 4090", "3090", "A100-80GB", "NVIDIA H100 SXM"; None: no card.

    A size in the name must be the card's: "a100-40gb" is a card of its own, and there is no "h100-40gb".
    """
    known: dict[str, Card] = {}
    for card in CARDS:
        model = _bare(card.name.removesuffix(f"-{card.sold}gb"))
        known |= dict.fromkeys((_bare(card.name), *(f"{model}{card.sold}{unit}" for unit in ("", "g", "gb"))), card)
    return known.get(_bare(_AROUND.sub("", re.sub(r"[\W_]+", " ", text.lower()).strip())))


def sold_as(size: float) -> Sequence[Card]:
    """Return the cards that are sold with `size` GB, the one that gives the least first."""
    return sorted((card for card in CARDS if card.sold == size), key=lambda card: card.given)


def _bare(name: str) -> str:
    """Return a name as it is compared: "RTX 4090" becomes "4090"."""
    return "".join(letter for letter in name if letter.isalnum()).removeprefix("rtx")
