"""A config file's text as nodes that keep their lines: the shape of YAML, without what a config must not hold.

PyYAML composes the text rather than loading it, so an unquoted ``no`` or ``0123`` stays the text that the user wrote.
"""

from __future__ import annotations

from .errors import SettingError
from .record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

LARGEST = 1_000_000  # bytes; a config is a few hundred
DEEPEST = 50
MOST_NODES = 20_000
NULL = "tag:yaml.org,2002:null"
TAGS = ("null", "bool", "int", "float", "str", "map", "seq", "timestamp", "merge", "value")
KNOWN_TAGS = frozenset(f"tag:yaml.org,2002:{name}" for name in TAGS)


class Node(Record):
    """A piece of a document: text, nothing, a list of nodes, or pairs of key and node."""

    value: str | list[Node] | list[tuple[Node, Node]] | None
    line: int
    """From 1."""
    mapping: bool = False

    def pairs(self) -> list[tuple[Node, Node]]:
        """Return a mapping's pairs; any other node has none."""
        return self.value if self.mapping and isinstance(self.value, list) else []  # pyright: ignore[reportReturnType]

    def plain(self) -> object:
        """Return the node as text, list and dict; None for null."""
        if self.mapping:
            return {str(key.value): node.plain() for key, node in self.pairs()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value if isinstance(node, Node)]
        return self.value


def compose(content: bytes, path: str) -> Node | None:
    """Return the mapping that ``content`` holds, None where it is empty; ``path`` is for messages and tells JSON.

    Raises:
        SettingError: it is no UTF-8 text, no YAML (or JSON), or no mapping; or it nests or repeats beyond reason.
    """
    if len(content) > LARGEST:
        raise SettingError(f"{path}: larger than {LARGEST} bytes: this is no config file")
    root = _compose(_decode(content, path), path)
    if root is not None and not root.mapping and root.value is not None:
        raise SettingError(f"{path}:{root.line}: a config file is a mapping of settings, not this")
    return root if root is not None and root.mapping else None


def _decode(content: bytes, path: str) -> str:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise SettingError(f"{path}:{line}: this is no UTF-8 text") from None
    if path.endswith(".json") and text.strip():
        _check_json(text, path)
        return text.replace("\t", " ")  # none can stand inside a JSON string, and YAML allows none between
    return text


def _check_json(text: str, path: str) -> None:
    import json

    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        raise SettingError(f"{path}:{error.lineno}: this is no JSON: {error.msg}") from None
    except RecursionError:
        raise SettingError(f"{path}:1: nested too deeply for a config file") from None


def _compose(text: str, path: str) -> Node | None:
    if max(text.count(opening) for opening in "[{") > MOST_NODES:
        raise SettingError(f"{path}:1: nested too deeply for a config file")
    import yaml

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        root = yaml.compose(text, Loader=loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark is not None else 1
        raise SettingError(f"{path}:{line}: this can't be read as YAML: {error.problem or error.context}") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise SettingError(f"{path}:1: this can't be read as YAML: {why}") from None
    return None if root is None else _Converter(path).node(root, 0)


class _Converter:
    """Turns PyYAML's nodes into ours, within bounds: an alias is a node again each time it is used."""

    def __init__(self, path: str) -> None:
        self.path, self.left = path, MOST_NODES

    def node(self, node: Any, depth: int) -> Node:
        line: int = node.start_mark.line + 1
        self.left -= 1
        if self.left < 0 or depth > DEEPEST:
            raise SettingError(f"{self.path}:{line}: nested or repeated beyond what a config file needs")
        if node.tag not in KNOWN_TAGS:
            tag = node.tag.replace("tag:yaml.org,2002:", "!!")
            raise SettingError(f"{self.path}:{line}: the tag {tag} isn't allowed in a config file")
        convert: Callable[[Any], Node] = lambda child: self.node(child, depth + 1)  # noqa: E731
        if node.id == "mapping":
            return Node([(convert(key), convert(value)) for key, value in _merged(node)], line, mapping=True)
        if node.id == "sequence":
            return Node([convert(item) for item in node.value], line)
        return Node(None if node.tag == NULL else node.value, line)


def _merged(node: Any) -> list[tuple[Any, Any]]:
    """Return the node's pairs, with those of ``<<: *anchor`` in place where they aren't said again."""
    own = {key.value for key, _value in node.value if key.id == "scalar"}
    pairs: list[tuple[Any, Any]] = []
    for key, value in node.value:
        if key.tag == "tag:yaml.org,2002:merge" and value.id == "mapping":
            pairs += [pair for pair in value.value if pair[0].value not in own]
        else:
            pairs.append((key, value))
    return pairs
