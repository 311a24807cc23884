"""Amounts of memory as people write them. Binary (GiB) and decimal (GB) units are kept apart."""

from __future__ import annotations

import re

from accel_estimate.errors import UsageError

KIB, MIB, GIB = 2**10, 2**20, 2**30

_BINARY = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_SCALE = {unit.upper(): 1024**power for power, unit in enumerate(_BINARY) if power} | {
    unit: 1000**power for power, unit in enumerate(("KB", "MB", "GB", "TB", "PB"), start=1)
}
_AMOUNT = re.compile(r"\s*([0-9]{1,18}(?:\.[0-9]+)?)\s*([A-Za-z]+)\s*")


def spell(amount: float) -> str:
    """Return `amount` bytes with two decimals, in the largest binary unit in which it is at least 1.

    The unit is chosen after rounding: 1023.999 KiB becomes "1.00 MiB", never "1024.00 KiB".
    """
    if abs(amount) < KIB:
        return f"{amount:.0f} bytes" if round(abs(amount)) < KIB else "1.00 KiB"
    power = 1
    while power < len(_BINARY) - 1 and round(abs(amount) / 1024**power, 2) >= KIB:
        power += 1
    return f"{amount / 1024**power:.2f} {_BINARY[power]}"


def parse(text: str) -> int:
    """Return the bytes of an amount such as "24GiB" or "80GB" (1 GiB = 2**30 bytes, 1 GB = 10**9 bytes).

    Raises:
        UsageError: the text isn't a number with a unit.

    """
    match = _AMOUNT.fullmatch(text)
    if match is None or match[2].upper() not in _SCALE:
        raise UsageError(f"{text!r} isn't an amount of memory; write a number and a unit, such as 24GiB or 80GB")
    return int(float(match[1]) * _SCALE[match[2].upper()])
