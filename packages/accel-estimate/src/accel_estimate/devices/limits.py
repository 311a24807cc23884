"""How much memory a named device has, and whether an estimate fits it."""

from __future__ import annotations

from types import MappingProxyType

from accel_config.record import Record
from accel_estimate.devices import units
from accel_estimate.devices.units import GIB
from accel_estimate.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

# What a program finds (total_memory of torch's device properties, as out-of-memory messages print it), in GiB. It is
# less than the name promises because the driver and error correction keep some.
DEVICES: Mapping[str, float] = MappingProxyType(
    {
        "t4": 14.56, "v100-16gb": 15.77, "v100": 31.73, "p100": 15.89, "l4": 22.03, "a10": 22.05, "a10g": 21.98,
        "l40": 44.39, "l40s": 44.39, "a40": 44.34, "a6000": 47.41, "a100-40gb": 39.39, "a100": 79.14, "h100": 79.10,
        "h100-nvl": 93.0, "h200": 139.72, "h20": 95.0, "gh200": 94.5, "b200": 178.35, "rtx3090": 23.56,
        "rtx4090": 23.52, "rtx5090": 31.36, "mi250x": 63.98, "mi300x": 191.45, "gaudi2": 94.6, "tpu-v4": 30.75,
        "tpu-v5e": 15.75, "tpu-v5p": 95.74,
    }
)  # fmt: skip


class Fit(Record):
    """Whether `needed` bytes of `subject` (such as "training") fit `device` of `limit` bytes."""

    device: str
    limit: int
    needed: float
    subject: str

    @property
    def margin(self) -> float:
        """Bytes left over; negative if it doesn't fit."""
        return self.limit - self.needed

    @property
    def fits(self) -> bool:
        """Whether the device has enough memory."""
        return self.margin >= 0


# What people add to a name; "a100-40gb" and the like are devices of their own.
_SUFFIXES = ("80gb", "sxm", "pcie")


def limit(device: str) -> int:
    """Return the bytes of "24GiB", "80GB" or a device by name.

    Raises:
        UsageError: the text is neither an amount nor a known device.

    """
    name = _bare(device)
    known = {_bare(name): size for name, size in DEVICES.items()}
    for spelling in (name, *map(name.removesuffix, _SUFFIXES)):
        if spelling in known:
            return round(known[spelling] * GIB)
    try:
        return units.parse(device)
    except UsageError:
        raise UsageError(
            f"--fits {device}: neither an amount such as 24GiB or 80GB nor a known device ({', '.join(DEVICES)})"
        ) from None


def _bare(name: str) -> str:
    """Return a name as it is compared: "RTX 4090" becomes "rtx4090"."""
    return "".join(letter for letter in name.lower() if letter.isalnum())
