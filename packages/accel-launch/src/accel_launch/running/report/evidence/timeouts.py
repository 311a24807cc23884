"""What torch prints when a collective, a barrier or its store has waited too long, and whom the message names."""

from __future__ import annotations

import re

from accel_config.record import Record

GLOO = re.compile(r"Timed out waiting (?P<ms>\d{1,18})ms for (?P<operation>\w+) operation to complete")
NCCL = re.compile(
    r"Watchdog caught collective operation timeout: Work\w*\((?:SeqNum=(?P<number>\d{1,18}), )?"
    r"OpType=(?P<operation>\w+)[^\n]*?\) ran for (?P<ms>\d{1,18}) milliseconds"
)
BARRIER = re.compile(
    r"Ranks? (?P<missing>\d{1,9}(?:, ?\d{1,9})*),? failed to pass "
    r"(?P<operation>monitoredBarrier) in (?P<ms>\d{1,18}) ms"
)
STORE = re.compile(r"wait timeout after (?P<ms>\d{1,18})ms, (?P<operation>keys: [^\n]{1,200})")
CLIENTS = re.compile(r"Timed out after (?P<seconds>\d{1,18}) seconds waiting for (?P<operation>clients)")
"""At the start: not all ranks have come to the store."""
CONNECT = re.compile(
    r"client socket has timed out after (?P<ms>\d{1,18})ms while trying to (?P<operation>connect) to"
)
"""At the start: the rank that has the store hasn't come."""
BARRIERS_END = re.compile(r"successfully reached (?P<operation>monitoredBarrier), but received errors while waiting")
"""What the other ranks of such a barrier print; the rank that it names is the one that knows."""
FORMS = (NCCL, BARRIER, BARRIERS_END, STORE, CLIENTS, CONNECT, GLOO)
CLOSED = "Connection closed by peer"
"""What gloo prints if another rank has left: it ended, and this one still waits for it."""
RESET = re.compile(r"gloo/transport/.{0,80}Connection reset by peer")
"""The same, if that rank left with bytes that it hadn't read."""
UNCAUGHT = "terminate called after throwing"
"""What C++ prints before it aborts by an exception."""
ENQUEUED = re.compile(r"[Ll]ast enqueued (?:NCCL )?work: (\d{1,18})\b")
"""The number of a rank's last collective, which NCCL's watchdog prints on each rank."""


class Complaint(Record):
    """A wait that was too long."""

    operation: str
    """What was waited for, in torch's word."""
    seconds: float = 0.0
    """How long; 0 if the message doesn't say."""
    number: int | None = None
    """The collective's number in its group."""
    missing: tuple[int, ...] = ()
    """The ranks that didn't come, where the message names them."""


def complaint(text: str) -> Complaint | None:
    """Return the first wait that a text says was too long."""
    matches = [found for form in FORMS if (found := form.search(text))]
    if not matches:
        return None
    matches.sort(key=lambda found: found.start())
    fields = matches[0].groupdict()
    seconds = next((each for each in map(_seconds, matches) if each), 0.0)
    missing = tuple(int(word) for word in re.findall(r"\d+", fields.get("missing") or ""))
    number = fields.get("number")
    return Complaint(fields["operation"], seconds, int(number) if number else None, missing)


def closed(text: str) -> bool:
    """Return whether gloo says in a text that a connection to another rank is gone."""
    return CLOSED in text or RESET.search(text) is not None


def fatal(text: str) -> Complaint | None:
    """Return the wait by which C++ has ended a process; the script may have handled and printed others."""
    watchdog = NCCL.search(text)
    begin = watchdog.start() if watchdog is not None else text.rfind(UNCAUGHT)
    return complaint(text[begin:]) if begin >= 0 else None


def _seconds(found: re.Match[str]) -> float:
    fields = found.groupdict()
    return float(fields.get("seconds") or 0) or float(fields.get("ms") or 0) / 1000


def enqueued(text: str) -> int | None:
    """Return the number of a rank's last collective, as NCCL's watchdog has it."""
    found = ENQUEUED.findall(text)
    return int(found[-1]) if found else None
