"""How fast devices are, by their makers' data sheets; docs/recommend.md says what is made of these numbers."""

from __future__ import annotations

from accel_config.record import Record

GIGA, TERA = 10**9, 10**12


class Speed(Record):
    """The speed of a device, as its data sheet has it: products without sparsity, links in one direction."""

    products: float
    """Operations in a second, in 16-bit products that are summed in float32."""
    memory: float
    """Bytes in a second from and to its own memory."""
    links: float
    """Bytes in a second to the other devices of its machine: NVLink and the like, else PCI Express."""
    host: float
    """Bytes in a second to the memory of the CPU."""
    reached: float = 0.4
    """The part of the products that training reaches."""


def _row(teraflops: float, memory: float, links: float, host: float) -> Speed:
    return Speed(teraflops * TERA, memory * GIGA, links * GIGA, host * GIGA)


SPEEDS: dict[str, Speed] = {
    "t4": _row(65, 320, 16, 16),
    "v100-16gb": _row(125, 900, 150, 16),
    "v100": _row(125, 900, 150, 16),
    "p100": _row(21, 732, 80, 16),
    "l4": _row(121, 300, 32, 32),
    "a10": _row(125, 600, 32, 32),
    "a10g": _row(70, 600, 32, 32),
    "l40": _row(181, 864, 32, 32),
    "l40s": _row(362, 864, 32, 32),
    "a40": _row(150, 696, 32, 32),
    "a6000": _row(155, 768, 32, 32),
    "a100-40gb": _row(312, 1555, 300, 32).replace(reached=0.55),
    "a100": _row(312, 2039, 300, 32).replace(reached=0.55),
    "h100": _row(989, 3350, 450, 64),
    "h100-nvl": _row(835, 3900, 64, 64),
    "h200": _row(989, 4800, 450, 64),
    "h20": _row(148, 4000, 450, 64),
    "gh200": _row(989, 4000, 450, 450),
    "b200": _row(2250, 8000, 900, 64),
    "rtx2080ti": _row(54, 616, 16, 16),
    "rtx3060": _row(25, 360, 32, 32),
    "rtx3070": _row(41, 448, 32, 32),
    "rtx3090": _row(71, 936, 32, 32),
    "rtx4070": _row(58, 504, 32, 32),
    "rtx4090": _row(165, 1008, 32, 32),
    "rtx5090": _row(210, 1792, 64, 64),
    "mi250x": _row(192, 1638, 50, 32),
    "mi300x": _row(1307, 5300, 448, 64),
    "gaudi2": _row(432, 2450, 262, 32),
}
"""By the names of `accel_estimate.devices.cards`; not TPUs, over which torch_xla spreads models in its own way."""
