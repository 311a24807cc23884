"""Amounts of memory as people write and read them; binary (GiB) and decimal (GB) units are never mixed up."""

import re

from accel_estimate.errors import UsageError

KIB, MIB, GIB = 2**10, 2**20, 2**30

_BINARY = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_SCALE = {unit.upper(): 1024**power for power, unit in enumerate(_BINARY) if power} | {
    unit: 1000**power for power, unit in enumerate(("KB", "MB", "GB", "TB", "PB"), start=1)
}
_AMOUNT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]+)\s*")


def spell(amount: float) -> str:
    """Give `amount` bytes in the largest binary unit of which it is at least one, with two decimals.

    The unit is chosen after rounding, so that 1023.999 KiB reads "1.00 MiB" and never "1024.00 KiB".
    """
    if abs(amount) < KIB:
        return f"{amount:.0f} bytes" if round(abs(amount)) < KIB else "1.00 KiB"
    power = 1
    while power < len(_BINARY) - 1 and round(abs(amount) / 1024**power, 2) >= KIB:
        power += 1
    return f"{amount / 1024**power:.2f} {_BINARY[power]}"


def parse(text: str) -> int:
    """Read "24GiB" or "80GB" (1 GiB = 2**30 bytes, 1 GB = 10**9 bytes) as bytes.

    Raises:
        UsageError: the text is no number with a unit.

    """
    match = _AMOUNT.fullmatch(text)
    if match is None or match[2].upper() not in _SCALE:
        raise UsageError(f"{text!r} is no amount of memory: write a number and a unit, such as 24GiB or 80GB.")
    return int(float(match[1]) * _SCALE[match[2].upper()])
