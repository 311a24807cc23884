"""Failures that come of a run's surroundings, which may pass by themselves, and how long to wait for that."""

from __future__ import annotations

import builtins
import errno
import re

from accel_launch.running.restarting.cause import type_of

LONGEST = 60.0  # seconds of one wait
LOOKED_AT = 4096  # characters of a message
ERRNO = re.compile(r"\[Errno (-?\d{1,5})\]")
REMOTE: int = getattr(errno, "EREMOTEIO", errno.EIO)  # which only Linux has
# What the system calls it, and we in a few words.
NUMBERS = {
    **dict.fromkeys((errno.EADDRINUSE, errno.EADDRNOTAVAIL), "address in use"),
    errno.ECONNREFUSED: "connection refused",
    **dict.fromkeys((errno.ECONNRESET, errno.ECONNABORTED, errno.EPIPE), "connection lost"),
    **dict.fromkeys(
        (errno.ENETUNREACH, errno.ENETDOWN, errno.EHOSTUNREACH, errno.EHOSTDOWN, errno.ENETRESET),
        "network unreachable",
    ),
    errno.ETIMEDOUT: "timed out",
    **dict.fromkeys((errno.EIO, errno.ESTALE, REMOTE, errno.ENOTCONN, errno.ENOLCK), "file system failed"),
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "disk full"),
    **dict.fromkeys((errno.EAGAIN, errno.EBUSY, errno.ETXTBSY, errno.ENFILE), "resource busy"),
    # Of getaddrinfo.
    **dict.fromkeys((-2, -3, -5), "name not resolved"),
}
# Types of exceptions that say it all, whatever their message is.
TYPES = (
    (re.compile(r"ConnectionRefusedError$"), "connection refused"),
    (re.compile(r"Connection(?:Reset|Aborted)Error$|BrokenPipeError$|RemoteDisconnected$"), "connection lost"),
    (re.compile(r"gaierror$|NameResolutionError$"), "name not resolved"),
    (re.compile(r"(?:Connect|Read|Write|Pool|Connection)?Timeout(?:Error)?$|timeout$"), "timed out"),
    (re.compile(r"(?:Endpoint|Proxy|Client)?Connect(?:ion|or)?Error$|IncompleteRead$"), "connection failed"),
)
# What messages of other exceptions say. They are looked for only where no programming error is the exception.
SAYINGS = (
    (re.compile(r"(?i)address already in use|\bEADDRINUSE\b|port \d+ is (?:already )?in use"), "address in use"),
    (re.compile(r"(?i)connection refused|\bECONNREFUSED\b"), "connection refused"),
    (re.compile(r"(?i)connection (?:was )?(?:reset|closed|aborted)|\bECONNRESET\b|broken pipe"), "connection lost"),
    (
        re.compile(r"(?i)temporary failure in name resolution|name or service not known|no address associated"),
        "name not resolved",
    ),
    (re.compile(r"(?i)network is unreachable|no route to host|host is down"), "network unreachable"),
    (
        re.compile(r"(?i)stale (?:nfs )?file handle|input/output error|transport endpoint is not connected"),
        "file system failed",
    ),
    (re.compile(r"(?i)no space left on device|disk quota exceeded"), "disk full"),
    (re.compile(r"\b(?:HTTP(?: Error)?|status(?: code)?:?) ?(?:429|5\d\d)\b|\b5\d\d Server Error"), "server failed"),
    (re.compile(r"\b(?:429 Client Error|5\d\d (?:Bad Gateway|Service Unavail|Gateway Time))"), "server failed"),
    (
        re.compile(r"(?i)too many requests|couldn't connect to 'https?:|could not connect to the endpoint"),
        "server failed",
    ),
    (
        re.compile(r"(?i)connection timed out|read timed out|timed out after \d+ seconds? waiting for clients"),
        "timed out",
    ),
    (re.compile(r"(?i)devices? (?:is|are) busy or unavailable|database is locked"), "resource busy"),
)
OURS = frozenset(
    (
        *("ArithmeticError", "AssertionError", "AttributeError", "FloatingPointError", "ImportError", "IndexError"),
        *("IndentationError", "KeyError", "LookupError", "ModuleNotFoundError", "NameError", "NotImplementedError"),
        *("OverflowError", "RecursionError", "SyntaxError", "TabError", "TypeError", "UnboundLocalError"),
        *("UnicodeDecodeError", "UnicodeEncodeError", "ValueError", "ZeroDivisionError", "MemoryError"),
    )
)
"""Exceptions of programs, which may quote any text."""


def surroundings(said: str) -> str:
    """Return which part of the surroundings failed, in a few words; empty if the failure doesn't look like that.

    Args:
        said: The exception with its type, or the last line where no exception is known.
    """
    said = said[:LOOKED_AT]
    name = type_of(said)
    if name in OURS:
        return ""
    number = ERRNO.search(said)
    if number and int(number[1]) in NUMBERS:
        return NUMBERS[int(number[1])]
    if re.search(r"(?i)collective operation timeout", said):
        return ""  # ranks that wait for each other: they'd do it again
    if name.isidentifier():
        known = next((words for pattern, words in TYPES if pattern.match(name)), "")
        if known:
            return known
    return next((words for pattern, words in SAYINGS if pattern.search(said)), "")


def certain(said: str) -> bool:
    """Return whether the type or the number of an exception says so, and not only what its message quotes.

    Libraries have types for what their surroundings do; any program may raise a built-in type with any text.
    """
    name = type_of(said)
    if any(pattern.match(name) for pattern, _words in TYPES):
        return True
    kind = getattr(builtins, name, None)
    if isinstance(kind, type):
        return issubclass(kind, OSError) and ERRNO.search(said[:LOOKED_AT]) is not None
    parts = said.partition("\n")[0].partition(":")[0].strip().split(".")
    return len(parts) > 1 and all(part.isidentifier() for part in parts)


def delay(failures: int) -> float:
    """Return how long to wait after so many such failures in a row: 1, 2, 4 ... 60 s."""
    return min(LONGEST, 2.0 ** min(max(failures - 1, 0), 30))
