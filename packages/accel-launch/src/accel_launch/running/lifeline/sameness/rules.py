"""Which differences between machines matter, and what is said of each."""

from __future__ import annotations

from accel_config.record import Record
from accel_launch.inspecting.groups import spans
from accel_launch.running.lifeline.sameness.code import MISSING
from accel_launch.running.lifeline.sameness.portrait import CUT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    Facts = Mapping[str, str]

ALL = "all"
APART = 1.0  # seconds between two clocks that are told
UNEVEN = 1.5  # times the memory of another machine that is told
MOST_VALUES = 4  # of a difference that are told
WIDEST = 100  # characters of a value that are told
MOST_MODULES = 3  # that are told one by one
ABSENT = {
    "setting": "not set",
    "variable": "not set",
    "module": "missing",
    "devices": "none",
    "arguments": "none",
    "cuda": "none",
}


class Difference(Record):
    """Something that isn't the same on all machines."""

    kind: str
    """As `--allow_difference` names it."""
    name: str
    """What differs."""
    values: tuple[tuple[str, tuple[int, ...]], ...]
    """Each value, and the machines that have it; that of machine 0 is the first."""
    apart: tuple[int, ...] = ()
    """The machines whose ranks can't run together with those of machine 0 so."""

    @property
    def refused(self) -> bool:
        """Whether a run isn't possible so."""
        return bool(self.apart)

    def text(self, hosts: Mapping[int, str]) -> str:
        """Say it on one line, with the host of a machine that is alone with its value."""
        told = [f"{_short(value)} on {_named(machines, hosts)}" for value, machines in self.values[:MOST_VALUES]]
        more = len(self.values) - MOST_VALUES
        return f"{_short(self.name)}: " + "; ".join(told) + (f"; and {more} more values" if more > 0 else "")

    def as_json(self) -> dict[str, object]:
        """Return it for the report."""
        values = [{"value": value, "machines": list(machines)} for value, machines in self.values]
        return {"kind": self.kind, "name": self.name, "refused": self.refused, "values": values}


def differences(portraits: Mapping[int, Facts], allowed: Collection[str]) -> list[Difference]:
    """Return what differs and matters, the worst first; of ``allowed`` kinds only what would have been refused."""
    names = list(dict.fromkeys(name for facts in portraits.values() for name in facts))
    found = [one for name in names if name != CUT and (one := _difference(name, portraits)) is not None]
    modules = [one for one in found if one.name.endswith(".py") and one.kind == "script" and not one.refused]
    if len(modules) > MOST_MODULES:
        found = [one for one in found if one not in modules[MOST_MODULES:]]
        rest = modules[MOST_MODULES:]
        found.append(rest[0].replace(name=f"{len(rest)} more modules, such as {rest[0].name}"))
    everything = ALL in allowed
    kept = [one for one in found if one.refused or not (everything or one.kind in allowed)]
    kept = [one.replace(apart=()) if everything or one.kind in allowed else one for one in kept]
    return sorted(kept, key=lambda one: not one.refused)


def _difference(name: str, portraits: Mapping[int, Facts]) -> Difference | None:
    family, _, rest = name.partition(" ")
    kind, label, shown, clash = _rule(family, rest)
    absent = ABSENT.get(family, "not installed" if family in ("library", "torch") else "unknown")
    values: dict[str, list[int]] = {}
    for machine in sorted(portraits):
        facts = portraits[machine]
        if name not in facts and CUT in facts:
            continue
        values.setdefault(facts.get(name, "") or absent, []).append(machine)
    texts = list(values)
    if len(texts) < 2 or (rest == "shared memory" and _even(texts)):  # noqa: PLR2004
        return None
    told: dict[str, list[int]] = {}
    for text in texts:
        told.setdefault(shown(text), []).extend(values[text])
    if len(told) < 2:  # noqa: PLR2004
        return None
    groups = tuple((text, tuple(sorted(machines))) for text, machines in told.items())
    main = texts[0]
    apart = sorted(machine for text in texts[1:] if clash(main, text) for machine in values[text])
    return Difference(kind, label, groups, tuple(apart))


def _rule(family: str, rest: str) -> tuple[str, str, Callable[[str], str], Callable[[str, str], bool]]:
    """Return the kind of a fact, its name for people, how its values are shown, and when they can't go together."""
    label, kind = {
        "python": ("Python", "python"),
        "torch": ("torch", "torch"),
        "cuda": ("torch's CUDA", "torch"),
        "driver": ("the driver of the GPUs", "driver"),
        "launcher": ("accel-launch", "launcher"),
        "on": ("the ranks' devices", "devices"),
        "devices": ("visible devices", "devices"),
        "script": ("the script", "script"),
        "arguments": ("the script's arguments", "arguments"),
        "limit": (_LIMITS.get(rest, rest), "limits"),
        "clock": ("the clock", "clock"),
        "setting": (rest, "settings"),
        "library": (rest.replace("_", "-"), "libraries"),
        "variable": (rest, "variables"),
        "module": (rest, "script"),
    }.get(family, (f"{family} {rest}".strip(), "libraries"))
    shown = _SHOWN.get(rest if family == "limit" else family, str)
    return kind, label, shown, _CLASHES.get(family, lambda _main, _other: False)


def _release(version: str) -> str:
    return ".".join(version.partition("+")[0].split(".")[:2])


def _even(texts: list[str]) -> bool:
    sizes = [_number(text) for text in texts]
    return min(sizes) > 0 and max(sizes) < UNEVEN * min(sizes)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _size(text: str) -> str:
    number = _number(text)
    for unit, factor in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if number >= factor:
            return f"{number / factor:.3g} {unit}"
    return f"{text} bytes" if text.isdecimal() else text


def _content(text: str) -> str:
    return text if text == MISSING else f"digest {text[:8]}"


def _offset(text: str) -> str:
    ahead = _number(text)
    if abs(ahead) <= APART:
        return "right"
    return f"{abs(ahead):.1f} s {'behind' if ahead > 0 else 'ahead'}"


def _named(machines: tuple[int, ...], hosts: Mapping[int, str]) -> str:
    host = _short(hosts.get(machines[0], "")) if len(machines) == 1 else ""
    return f"machine{'s' if len(machines) > 1 else ''} {spans(machines, 8)}" + (f" (host {host})" if host else "")


def _short(text: str) -> str:
    return text if len(text) <= WIDEST else f"{text[: WIDEST - 30]}...{text[-27:]}"


_LIMITS = {
    "open files": "open files (ulimit -n)",
    "locked memory": "locked memory (ulimit -l)",
    "shared memory": "size of /dev/shm",
}
_SHOWN: dict[str, Callable[[str], str]] = {
    **dict.fromkeys(("script", "module"), _content),
    **dict.fromkeys(("shared memory", "locked memory"), _size),
    "clock": _offset,
}
_CLASHES: dict[str, Callable[[str, str], bool]] = {
    "torch": lambda main, other: _release(main) != _release(other),
    "on": lambda _main, _other: True,
    "script": lambda main, other: MISSING in (main, other),
}
