"""Devices by name, and whether what is needed fits one."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from accel_estimate import bytesize
from accel_estimate.bytesize import GIB
from accel_estimate.errors import UsageError

# What a program finds (total_memory of torch's device properties, as out-of-memory messages print it), in GiB; less
# than the name says, because the driver and error correction keep some.
DEVICES: Mapping[str, float] = MappingProxyType(
    {
        "t4": 14.56, "v100-16gb": 15.77, "v100": 31.73, "p100": 15.89, "l4": 22.03, "a10": 22.05, "a10g": 21.98,
        "l40": 44.39, "l40s": 44.39, "a40": 44.34, "a6000": 47.41, "a100-40gb": 39.39, "a100": 79.14, "h100": 79.10,
        "h100-nvl": 93.0, "h200": 139.72, "h20": 95.0, "gh200": 94.5, "b200": 178.35, "rtx3090": 23.56,
        "rtx4090": 23.52, "rtx5090": 31.36, "mi250x": 63.98, "mi300x": 191.45, "gaudi2": 94.6, "tpu-v4": 30.75,
        "tpu-v5e": 15.75, "tpu-v5p": 95.74,
    }
)  # fmt: skip


class Fit(NamedTuple):
    """Whether `needed` bytes fit `device` of `limit` bytes; `subject` says what needs them."""

    device: str
    limit: int
    needed: float
    subject: str

    @property
    def margin(self) -> float:
        """Bytes left over; negative when it does not fit."""
        return self.limit - self.needed

    @property
    def fits(self) -> bool:
        """Whether nothing is lacking."""
        return self.margin >= 0


# What people add to a name; "a100-40gb" and the like are devices of their own.
_MORE = ("80gb", "sxm", "pcie")


def _bare(name: str) -> str:
    """Give a name as it compares: "RTX 4090" is "rtx4090"."""
    return "".join(letter for letter in name.lower() if letter.isalnum())


def limit(device: str) -> int:
    """Read "24GiB", "80GB" or the name of a device as bytes.

    Raises:
        UsageError: it is neither.

    """
    name = _bare(device)
    known = {_bare(name): size for name, size in DEVICES.items()}
    for called in (name, *map(name.removesuffix, _MORE)):
        if called in known:
            return round(known[called] * GIB)
    try:
        return bytesize.parse(device)
    except UsageError:
        raise UsageError(
            f"--fits {device}: neither an amount such as 24GiB or 80GB nor a known device ({', '.join(DEVICES)})."
        ) from None
