"""The machines of ``--hosts``: ``a,user@b:22,node[1-4]*8``, or a file in Open MPI's, DeepSpeed's or Slurm's form."""

from __future__ import annotations

import os

from accel_config.errors import SettingError
from accel_config.record import Record
from accel_config.settings.readers import natural
from accel_launch.schedulers import hostlist

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from accel_config.settings.resolved import Settings

FORM = "write names such as node[1-4], user@host:22 or host*8, separated by commas, or the path of a file"
LINE = "write a machine on each line, such as node-a slots=8, or me@node-a:2222 slots=8 with user and port"
UNUSED = ("max_slots", "max-slots")  # Open MPI's, for more ranks than slots
LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
LAST_PORT = 65535
SSH_PORT, MOST_SLOTS = 22, 1023  # `a:22` and `a:2222` in a file are ports by mistake


class Machine(Record):
    """A machine as the user has written it."""

    name: str
    """Its name, an alias of the user's ssh config, or its address."""
    user: str = ""
    port: int | None = None
    count: int | None = None
    """Its number of ranks; None if that isn't written."""

    @property
    def label(self) -> str:
        """What messages and prefixes call it."""
        return self.name if self.port is None else f"{self.name}:{self.port}"

    @property
    def destination(self) -> str:
        """What ssh calls it, beside the port."""
        return f"{self.user}@{self.name}" if self.user else self.name


def machines(settings: Settings, cwd: str) -> tuple[Machine, ...]:
    """Return the machines of the setting ``hosts``, in their order: the first one is the main machine.

    Raises:
        SettingError: it isn't such a list, a file that can't be read, or names a machine twice.
    """
    text, origin = str(settings.value("hosts").value).strip(), settings.origin("hosts")
    path = os.path.join(cwd, os.path.expanduser(text))
    if os.path.isfile(path):
        found = _of_file(path, f"hosts ({origin})")
    elif "/" in text:
        raise SettingError(f"{origin}: the file of hosts {text} doesn't exist")
    else:
        found = list(_of_text(text, f"hosts ({origin})", FORM))
    if not found:
        raise SettingError(f"{origin}: hosts lists no machine; {FORM}")
    seen: set[tuple[str, str, int | None]] = set()
    for one in found:
        if (one.name, one.user, one.port) in seen:
            raise SettingError(f"{origin}: hosts lists {one.label} twice; write {one.name}*2 for two ranks there")
        seen.add((one.name, one.user, one.port))
    return tuple(found)


def _of_text(text: str, where: str, form: str) -> Iterator[Machine]:
    try:
        entries = list(hostlist.entries(text))
    except ValueError as error:
        raise SettingError(f"{where}: {error} isn't valid in a list of hosts; {form}") from None
    for entry in entries:
        yield from _machines(entry, where, form)


def _of_file(path: str, where: str) -> list[Machine]:
    """Read a file. A machine that has several lines, as in Slurm's form, has so many ranks.

    Raises:
        SettingError: it can't be read, or a line isn't valid.
    """
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = file.read().splitlines()
    except OSError as error:
        raise SettingError(f"{where}: {path} can't be read: {error.strerror}") from None
    found: dict[tuple[str, str, int | None], Machine] = {}
    by_rank = False
    for number, line in enumerate(lines, 1):
        for one in _of_line(line.partition("#")[0].split(), f"{where}, {path}:{number}"):
            key = (one.name, one.user, one.port)
            before = found.get(key)
            by_rank = by_rank or before is not None
            found[key] = one if before is None else one.replace(count=(before.count or 1) + (one.count or 1))
    return [one.replace(count=one.count or 1) if by_rank else one for one in found.values()]


def _of_line(words: list[str], where: str) -> Iterator[Machine]:
    """Yield the machines of a line of a file, where ``a:8`` has 8 ranks if nothing else says how many.

    Raises:
        SettingError: a word isn't valid.
    """
    named, slots = list[str](), None
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            named.append(word)
        elif key not in UNUSED:
            slots = natural(value) if key == "slots" else None
            if not slots or not named:
                raise SettingError(f"{where}: {word!r} isn't valid; {LINE}")
    for one in _of_text(" ".join(named), where, LINE):
        if slots and one.count not in (None, slots):
            raise SettingError(f"{where}: {one.label} has {one.count} ranks, and {slots}; leave one of them out")
        if one.port is None or slots or one.count:
            yield one.replace(count=slots or one.count)
        elif one.port == SSH_PORT or one.port > MOST_SLOTS:
            raise SettingError(
                f"{where}: {one.label} in a file has {one.port} ranks; if that is ssh's port, write {one.label}*8, "
                f"or else {one.name} slots={one.port}"
            )
        else:
            yield one.replace(count=one.port, port=None)


def _machines(entry: str, where: str, form: str) -> Iterator[Machine]:
    """Yield the machines of an entry.

    Raises:
        SettingError: it isn't valid.
    """
    rest, star, number = entry.partition("*")
    count = natural(number.strip()) if star else None
    user, at, rest = rest.strip().rpartition("@")
    name, port = _with_port(rest)
    valid = not (star and not count) and (port is None or 0 < port <= LAST_PORT) and bool(user) == bool(at)
    names = [name] if ":" in name else hostlist.expand(name, where, form) if valid else []
    for one in names:
        letters = LETTERS | frozenset(":%") if ":" in one else LETTERS
        if not letters.issuperset(one) or one[0] in "-." or not LETTERS.issuperset(user) or user.startswith("-"):
            names = []
            break
    if not valid or not names:
        raise SettingError(f"{where}: {entry!r} isn't valid; {form}")
    yield from (Machine(one, user, port, count) for one in names)


def _with_port(text: str) -> tuple[str, int | None]:
    """Return the host and the port, -1 if that is none: ``[fd88::1]:22`` and ``fd88::1`` are addresses."""
    if text.startswith("[") and ":" in text.partition("]")[0]:
        address, _, rest = text[1:].partition("]")
        return address, _port(rest[1:]) if rest.startswith(":") else -1 if rest else None
    if text.count(":") > 1 and "[" not in text:
        return text, None
    name, colon, port = text.rpartition(":")
    return (name, _port(port)) if colon and "]" not in port else (text, None)


def _port(text: str) -> int:
    number = natural(text)
    return -1 if number is None else number
