"""Quoting of words for the shell."""

from __future__ import annotations

SAFE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789@%+=:,./-_")


def quote(text: str) -> str:
    """Quote a word for the shell like `shlex.quote`, whose regular expression would slow the start-up down."""
    return text if text and SAFE.issuperset(text) else "'" + text.replace("'", "'\"'\"'") + "'"


def assignment(name: str, text: str) -> str:
    """Return ``NAME=value`` for the shell. A name that isn't valid there becomes a word that the shell refuses."""
    valid = name.isidentifier() and name.isascii()
    return f"{name}={quote(text)}" if valid else quote(f"{name}={text}")
