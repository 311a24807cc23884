"""Names of functions as they are in the source: those of C++ and Rust are mangled in a file."""

from __future__ import annotations

import ctypes
import functools

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

BEHIND = (" const", " volatile", " &&", " &")
"""What may stand behind a function's parameters."""
OPERATOR = "operator"
LONGEST = 200
"""Letters of a name; templates and lambdas can make it thousands long."""


@functools.cache
def _demangler() -> Callable[[bytes], bytes]:
    """Return what demangles a name: the function of the C++ library, if there is one here."""
    try:
        libc, library = ctypes.CDLL(None), ctypes.CDLL("libstdc++.so.6")
        function = library.__cxa_demangle
    except (OSError, AttributeError):
        return lambda name: name
    function.restype = ctypes.c_void_p
    libc.free.argtypes = (ctypes.c_void_p,)

    def demangle(name: bytes) -> bytes:
        status = ctypes.c_int()
        found = function(name, None, None, ctypes.byref(status))
        if not found:
            return name
        try:
            return ctypes.string_at(found)
        finally:
            libc.free(found)

    return demangle


def readable(symbol: bytes) -> str:
    """Return a function's name without its parameters and its result, such as ``at::native::add``."""
    name, _, version = symbol.partition(b"@")
    del version
    if not name.startswith((b"_Z", b"__Z")):
        return name.decode(errors="replace")
    found = bare(_demangler()(name).decode(errors="replace"))
    return found if len(found) <= LONGEST else shortened(found)


def bare(name: str) -> str:
    """Return a demangled name without parameters, result and what stands behind them."""
    name, _, clone = name.partition(" [clone ")
    del clone
    while name.endswith(BEHIND):
        name = next(name.removesuffix(end) for end in BEHIND if name.endswith(end))
    name = _without_parameters(name)
    head, operator, tail = name.partition(OPERATOR)
    return _without_result(head) + operator + tail


def shortened(name: str) -> str:
    """Return a name without what is in angle brackets, and without its middle if it is still too long."""
    kept: list[str] = []
    depth = 0
    for letter in name:
        depth -= letter == ">" and depth > 0
        if not depth:
            kept.append(letter)
        if letter == "<":
            depth += 1
            if depth == 1:
                kept.append("...")
    found = "".join(kept)
    half = LONGEST // 2
    return found if len(found) <= LONGEST else f"{found[:half]}...{found[-half:]}"


def _without_parameters(name: str) -> str:
    """Cut the parentheses at the end, with all that is between them."""
    depth = 0
    for at in range(len(name) - 1, 0, -1):
        if name[at] == ")":
            depth += 1
        elif name[at] == "(":
            depth -= 1
        if not depth:
            cut = name[:at]
            return cut if name.endswith(")") and cut and not cut.endswith((OPERATOR, "::")) else name
    return name


def _without_result(name: str) -> str:
    """Cut the type before a function's name: what is before the last space that is in no brackets."""
    depth, begin = 0, 0
    for at, letter in enumerate(name):
        if letter in "<([{":
            depth += 1
        elif letter in ">)]}":
            depth -= 1
        elif letter == " " and depth == 0:
            begin = at + 1
    return name[begin:]
