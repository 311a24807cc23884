"""A config file's text with one value changed: spliced where the value stands, every other byte as it was."""

from __future__ import annotations

from . import spelling, storage
from .document import LARGEST, Node, compose, decode
from .errors import AccelError, SettingError
from .files import parse
from .listing import line
from .masking import shown
from .origin import Origin, Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .section import Setting
    from .settings import Catalogue

BOM = b"\xef\xbb\xbf"
INDENT = "  "


def assign(content: bytes, path: str, one: Setting, value: object) -> bytes:
    """Return ``content`` saying ``value`` (in the types of a file) for the setting, under the key it has there.

    Raises:
        AccelError: the file can't be read, or the value can't be changed without changing another.
    """
    text = decode(content, path)
    root = compose(content, path)
    if root is None:
        new = text + _ended(text) + _fresh(one, value, path)
    else:
        new = _Splicer(text, path).put(root, one, value)
    edited = (BOM if content.startswith(BOM) else b"") + new.encode()
    _check(content, edited, path, one)
    return edited


def _fresh(one: Setting, value: object, path: str) -> str:
    mapping, own = _parts(str(one.key))
    return spelling.document({mapping: {own: value}} if mapping else {own: value}, path)


def _parts(key: str) -> tuple[str, str]:
    """Return the mapping (empty at the top level) and the key in it."""
    mapping, _dot, own = key.rpartition(".")
    return mapping, own


def _ended(text: str) -> str:
    """Return what ``text`` lacks to end with a whole line."""
    return "" if not text or text.endswith("\n") else "\n"


def _check(old: bytes, new: bytes, path: str, one: Setting) -> None:
    """Raise AccelError where anything but the one setting reads differently: an anchor's value, say."""
    try:
        same = _others(old, path, one) == _others(new, path, one)
    except AccelError:
        same = False
    if not same:
        raise AccelError(f"{path}: {one.key} can't be changed here without changing another key: edit it by hand")


def _others(content: bytes, path: str, one: Setting) -> list[tuple[str, object]]:
    """Return every key and value but the setting's own."""
    root = compose(content, path)
    found: list[tuple[str, object]] = []
    for key, node in root.pairs() if root else []:
        if node.mapping and key.value == one.section.key:
            found += [(f"{key.value}.{inner.value}", value.plain()) for inner, value in node.pairs()]
        elif key.value != one.section.key:
            found.append((str(key.value), node.plain()))
    return [(name, value) for name, value in found if name not in one.keys]


class _Splicer:
    """Puts a value into a text, by the places of its nodes."""

    def __init__(self, text: str, path: str) -> None:
        self.text, self.path = text, path
        self.newline = "\r\n" if "\r\n" in text else "\n"
        self.json = path.endswith(".json")

    def put(self, root: Node, one: Setting, value: object) -> str:
        """Return the text with the setting's value in place, or added where its like stand."""
        mapping, own = _parts(str(one.key))
        spelled = spelling.scalar(value, self.path)
        if not mapping:
            return self._in(root, one, own, spelled)
        inner = self._find(root, (mapping,))
        if inner is None:
            inside = f"{{{self._key(own)}: {spelled}}}" if root.flow else f"\n{INDENT}{own}: {spelled}"
            return self._add(root, mapping, inside)
        key, node = inner
        if node.alias:
            raise AccelError(f"{self.path}:{node.line}: {mapping} is written elsewhere (*): edit the file by hand")
        if node.value is None:
            return self._replace(key, node, f"{{{self._key(own)}: {spelled}}}")
        if not node.mapping:
            raise AccelError(f"{self.path}:{node.line}: {mapping} must be a mapping of settings")
        return self._in(node, one, own, spelled)

    def _in(self, mapping: Node, one: Setting, own: str, spelled: str) -> str:
        found = self._find(mapping, [_parts(key)[1] for key in one.keys])
        return self._replace(*found, spelled) if found else self._add(mapping, own, spelled)

    def _find(self, mapping: Node, names: list[str] | tuple[str, ...]) -> tuple[Node, Node] | None:
        pairs = [(key, node) for key, node in mapping.pairs() if key.value in names and not key.alias]
        if len(pairs) > 1:
            raise AccelError(f"{self.path}:{pairs[1][0].line}: {pairs[1][0].value} is given twice: leave one of them")
        return pairs[0] if pairs else None

    def _replace(self, key: Node, node: Node, spelled: str) -> str:
        text, start = self.text, node.start
        end = start + len(text[start : node.end].rstrip())
        if isinstance(node.value, list) and not node.flow and not node.alias:
            # A list or mapping on lines of its own becomes a value on the key's line; a comment there stays.
            start = text.index(":", key.end) + 1
            spelled += text[start : node.start].rstrip()
        lead = "" if text[start - 1 : start].isspace() or self.json else " "
        return text[:start] + lead + spelled + text[end:]

    def _add(self, mapping: Node, own: str, spelled: str) -> str:
        pairs = [(key, node) for key, node in mapping.pairs() if not key.alias]
        if mapping.flow:
            return self._add_flow(mapping, pairs, f"{self._key(own)}: {spelled}")
        if not pairs:
            raise AccelError(f"{self.path}:{mapping.line}: every key is merged in: edit the file by hand")
        first, last = pairs[0][0], pairs[-1][1]
        line = self.text.rfind("\n", 0, first.start) + 1
        indent = " " * (first.start - line)
        end = len(self.text[: last.end].rstrip())
        end = self.text.find("\n", end) + 1 or len(self.text)
        before = "" if self.text[:end].endswith("\n") else self.newline
        colon = ":" if spelled.startswith("\n") else ": "
        entry = self.newline.join(indent + row for row in f"{own}{colon}{spelled}".split("\n"))
        return self.text[:end] + before + entry + self.newline + self.text[end:]

    def _add_flow(self, mapping: Node, pairs: list[tuple[Node, Node]], entry: str) -> str:
        if not pairs:
            place = mapping.end - 1
            return self.text[:place] + entry + self.text[place:]
        key, last = pairs[-1]
        place = max(key.end, last.end)
        line = self.text.rfind("\n", 0, key.start) + 1
        between = self.text[line : key.start]
        gap = self.newline + between if line > mapping.start and not between.strip() else " "
        return self.text[:place] + "," + gap + entry + self.text[place:]

    def _key(self, name: str) -> str:
        return f'"{name}"' if self.json else name


def change(catalogue: Catalogue, path: str, pairs: list[tuple[str, str]]) -> list[str]:
    """Change settings in the file at ``path``, all of them or none; return what is to be said about it.

    Raises:
        AccelError: a name or a value is wrong, or the file can't be changed.
    """
    wanted = [(one, _read(one, text)) for one, text in ((_in_files(catalogue, name), text) for name, text in pairs)]
    said: list[str] = []
    with storage.locked(path):
        content = content_of(path)
        for one, value in wanted:
            before = parse(catalogue, content, path).values.get(one.name)
            content = assign(content, path, one, value)
            now = parse(catalogue, content, path).values.get(one.name)
            where = f" ({now.origin})" if now is not None else ""
            said.append(f"{one.key}: {_told(one, before)} -> {_told(one, Value(value))}{where}")
            said += [f"note: Hugging Face's launcher refuses files with {one.key}"] if one.ours else []
        storage.replace(path, content)
    return said


def _told(one: Setting, value: Value | None) -> str:
    return "unset" if value is None or value.value is None else line(shown(one, value))


def _in_files(catalogue: Catalogue, name: str) -> Setting:
    one = catalogue.named(name)
    if one.key is None:
        raise SettingError(f"{one.name} can't stand in a config file: give the flag {one.flags[0]}")
    if one.deprecated:
        raise SettingError(f"{one.key} has no effect: {one.deprecated}")
    return one


def _read(one: Setting, text: str) -> object:
    """Return what a file should hold for ``text``, as it was typed where that means 'unset' by another word."""
    if text == "null":
        return None
    if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
        raise SettingError(f"value of {one.key}: this is no text in the terminal's encoding")
    raw: object = text
    if text[:1] in ("[", "{") and (one.kind is dict or one.many):
        raw = _json(text)
    elif one.many and not one.default:
        raw = text.split(",") if text else []
    value = one.parse(raw, Origin(f"value of {one.key}"))
    return text if value is None else spelling.plain(one, value)


def _json(text: str) -> object:
    import json

    try:
        return json.loads(text)
    except ValueError as error:
        raise SettingError(f"{text}: this is no JSON: {error}") from None


def content_of(path: str) -> bytes:
    """Return the file's bytes, none where it isn't there.

    Raises:
        AccelError: it can't be read.
    """
    try:
        with open(path, "rb") as file:
            return file.read(LARGEST + 1)
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise AccelError(f"{path}: the config file can't be read: {error.strerror}") from None
