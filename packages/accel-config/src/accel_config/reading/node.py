"""A piece of a config file: what it holds, how it is written, and where it stands in the text."""

from __future__ import annotations

from math import isfinite

from accel_config.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


LONGEST_NUMBER = 400  # characters; Python refuses to write numbers of more than 4,300 digits


class Node(Record):
    """A piece of a document: text, nothing, a list of nodes, or pairs of key and node."""

    value: str | list[Node] | list[tuple[Node, Node]] | None
    line: int
    """From 1."""
    mapping: bool = False
    start: int = 0
    """Where it begins in the text: characters after the byte order mark, if there is one."""
    end: int = 0
    """Where it ends."""
    bare: bool = False
    """Whether it is text without quotes, which YAML takes for a number or a boolean if it looks like one."""
    flow: bool = False
    """Whether it is written in brackets or braces."""
    alias: bool = False
    """Whether it is an alias: it stands for a node with an anchor."""

    def pairs(self) -> list[tuple[Node, Node]]:
        """Return a mapping's pairs, whose keys are text; any other node has none."""
        return self.value if self.mapping and isinstance(self.value, list) else []  # pyright: ignore[reportReturnType]

    def items(self) -> list[Node]:
        """Return a list's nodes; any other node has none."""
        return [] if self.mapping or not isinstance(self.value, list) else self.value  # pyright: ignore[reportReturnType]

    def plain(self) -> object:
        """Return the value as text, list or dict; None for null."""
        if self.mapping:
            return {str(key.value): node.plain() for key, node in self.pairs()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.items()]
        return self.value

    def read(self, kind: type) -> object:
        """Return the value for a setting of this kind: text, but numbers as YAML reads them (``0x10``, ``010``)."""
        if kind is dict:
            return self.typed()
        if self.bare and isinstance(self.value, str) and not _stays(kind, self.value):
            typed = self.typed()
            if isinstance(typed, (int, float)) and not isinstance(typed, bool):
                return typed
        return self.plain()

    def typed(self) -> object:
        """Return the value in those of YAML's own types that JSON has too.

        Dates, numbers with colons (in base 60), numbers of hundreds of digits and those that aren't finite stay text.
        """
        if self.mapping:
            return {str(key.value): node.typed() for key, node in self.pairs()}
        if isinstance(self.value, list):
            return [node.typed() for node in self.items()]
        if self.value is None or not self.bare:
            return self.value
        if len(self.value) > LONGEST_NUMBER or ":" in self.value:
            return self.value
        import yaml

        loader: Any = yaml.SafeLoader("")
        tag: str = loader.resolve(yaml.ScalarNode, self.value, (True, False))
        try:
            found = loader.construct_object(yaml.ScalarNode(tag, self.value))
        except (ValueError, OverflowError):  # it only looks like a number
            return self.value
        return (
            found if isinstance(found, (bool, int)) or (isinstance(found, float) and isfinite(found)) else self.value
        )


def _stays(kind: type, text: str) -> bool:
    """Whether unquoted text stays as it is: for kinds that aren't numbers, plain digits, and ranges (``2:4``)."""
    if not issubclass(kind, (int, float)) or kind is bool:
        return True
    return (text.isdecimal() and text[0] != "0") or (":" in text and kind not in (int, float))
