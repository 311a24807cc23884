r"""Foreign text made safe to print: values, names of files, messages of exceptions, titles of processes.

Such text may hold escapes that move the cursor, recolor or retitle the terminal, letters that reverse what is read,
and line ends that fake a message of ours. All of them are shown as escapes of Python, such as ``\x1b``. `one_line` is
for text that goes into a line of ours; `printable` for whole texts, whose lines and tabs stay.

`accel_config.front` and `accel_config.showing.console` pass all that they print through here. What ranks print isn't
ours, and passes untouched.
"""

from __future__ import annotations


def one_line(text: str) -> str:
    """Return ``text`` with escapes for line ends and for whatever is invisible or moves the cursor."""
    return text if text.isprintable() else _escaped(text, "")


def printable(text: str) -> str:
    """Return ``text`` with escapes for whatever is invisible or moves the cursor, except line ends and tabs."""
    return text if text.isprintable() else _escaped(text, "\n\t")


def _escaped(text: str, kept: str) -> str:
    return "".join(
        letter if letter in kept or letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text
    )
