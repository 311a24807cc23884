"""Nodes made of PyYAML's events, within bounds.

PyYAML parses the text and the nodes are made here, so an unquoted ``no`` or ``0123`` stays the text that the user
wrote, each node knows where it stands, and bounds are kept while reading: PyYAML's own composer, in C, crashes the
process on a text that nests deeply enough.
"""

from __future__ import annotations

from accel_config.errors import SettingError
from accel_config.reading.node import Node

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

DEEPEST = 50
MOST_NODES = 10_000
NULL_WORDS = frozenset(("", "~", "null", "Null", "NULL"))
STANDARD = "tag:yaml.org,2002:"
KNOWN_TAGS = frozenset(STANDARD + name for name in ("null", "bool", "int", "float", "str", "map", "seq", "timestamp"))


class Composer:
    """Makes the nodes of one document. An alias counts as its whole node again."""

    def __init__(self, events: Iterator[Any], path: str, place: Callable[[int], int]) -> None:
        self.events, self.path, self.left = events, path, MOST_NODES
        self.place = place
        """Returns where a character of the parsed text stands in the file's own text."""
        self.anchors: dict[str, tuple[Node, int]] = {}

    def root(self) -> Node | None:
        """Return the node of the one document; None if there is none."""
        found: Node | None = None
        for event in self.events:
            kind = type(event).__name__
            if kind == "DocumentStartEvent" and found is not None:
                raise self._refusal(event, "a second document begins here: a config file has one")
            if kind == "DocumentStartEvent":
                found = self.node(next(self.events), 0)
        return found

    def node(self, event: Any, depth: int) -> Node:
        """Return the node that begins with ``event``."""
        self.left -= 1
        if self.left < 0 or depth > DEEPEST:
            raise self._refusal(event, "nested or repeated beyond what a config file needs")
        kind = type(event).__name__
        if kind == "AliasEvent":
            return self._alias(event)
        if event.tag not in KNOWN_TAGS and event.tag not in (None, "!"):
            raise self._refusal(event, f"the tag {event.tag.replace(STANDARD, '!!')} isn't allowed in a config file")
        before = self.left
        make = {"MappingStartEvent": self._mapping, "SequenceStartEvent": self._sequence}.get(kind, self._scalar)
        node = make(event, depth + 1)
        if event.anchor is not None:
            self.anchors[event.anchor] = node, before - self.left
        return node

    def _alias(self, event: Any) -> Node:
        if event.anchor not in self.anchors:
            raise self._refusal(event, f"no anchor above is called {event.anchor}")
        node, size = self.anchors[event.anchor]
        self.left -= size
        return node.replace(**self._span(event.start_mark, event.end_mark.index), alias=True)

    def _scalar(self, event: Any, _depth: int) -> Node:
        bare: bool = event.implicit[0] and event.tag is None
        null = (bare and event.value in NULL_WORDS) or event.tag == STANDARD + "null"
        value = None if null else event.value
        return Node(value, **self._span(event.start_mark, event.end_mark.index), bare=bare)

    def _sequence(self, start: Any, depth: int) -> Node:
        items: list[Node] = []
        for event in self.events:
            if type(event).__name__ == "SequenceEndEvent":
                return self._collection(items, start, items[-1].end if items else 0, event)
            items.append(self.node(event, depth))
        raise AssertionError("a sequence always ends")  # pragma: no cover

    def _mapping(self, start: Any, depth: int) -> Node:
        pairs: list[tuple[Node, Node]] = []
        for event in self.events:
            if type(event).__name__ == "MappingEndEvent":
                end = pairs[-1][1].end if pairs else 0
                return self._collection(self._merged(pairs), start, end, event).replace(mapping=True)
            key = self.node(event, depth)
            if not isinstance(key.value, str):  # here, so that no reader or writer meets one
                raise self._refusal(event, "a key must be text")
            pairs.append((key, self.node(next(self.events), depth)))
        raise AssertionError("a mapping always ends")  # pragma: no cover

    def _collection(self, value: list[Any], start: Any, last: int, end: Any) -> Node:
        """Return the node. In block style it ends with its last item; for PyYAML it ends at the next token."""
        span = self._span(start.start_mark, end.end_mark.index)
        if not start.flow_style:
            span["end"] = last
        return Node(value, **span, flow=start.flow_style)

    def _span(self, start: Any, end: int) -> dict[str, Any]:
        """Return where a node stands in the file's own text."""
        return {"line": start.line + 1, "start": self.place(start.index), "end": self.place(end)}

    def _merged(self, pairs: list[tuple[Node, Node]]) -> list[tuple[Node, Node]]:
        """Return ``pairs`` with those of the anchor in place of ``<<: *anchor``, except keys that are given here."""
        given = {str(key.value) for key, _value in pairs}
        found: list[tuple[Node, Node]] = []
        for key, value in pairs:
            if key.value != "<<" or not key.bare:
                found.append((key, value))
                continue
            for mapping in value.items() or [value]:
                new = [pair for pair in mapping.pairs() if pair[0].value not in given]
                given.update(str(key.value) for key, _value in new)
                self.left -= len(new)
                found += [(key.replace(alias=True), value.replace(alias=True)) for key, value in new]
        return found

    def _refusal(self, event: Any, why: str) -> SettingError:
        return SettingError(f"{self.path}:{event.start_mark.line + 1}: {why}")
