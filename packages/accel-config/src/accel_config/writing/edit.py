"""Single settings changed in a config file, every other byte as it was."""

from __future__ import annotations

import os

from accel_config.errors import AccelError, SettingError
from accel_config.reading import document
from accel_config.reading.files import parse
from accel_config.reading.places import own_path
from accel_config.settings.domain import LONGEST
from accel_config.settings.origin import Origin, Value
from accel_config.showing.masking import shown
from accel_config.showing.wording import line
from accel_config.writing import spelling, storage
from accel_config.writing.splices import Splices

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_config.reading.node import Node
    from accel_config.settings.declaration import Setting
    from accel_config.settings.index import Catalogue

REFUSED = "Hugging Face's launcher rejects files with {key}"


def assign(content: bytes, path: str, one: Setting, value: object) -> bytes:
    """Return ``content`` with the setting at ``value`` (in the types of a file), under the key that it has there.

    Raises:
        AccelError: the file can't be read, or the value can't be changed without changing another.
    """
    splices = Splices(content, path)
    splices.put(one, value)
    edited = splices.applied()
    _check(content, edited, path, one)
    return edited


def without(content: bytes, path: str, one: Setting) -> bytes:
    """Return ``content`` without the setting's key.

    Raises:
        AccelError: it can't be taken out without changing another.
    """
    if not _has(content, path, one):
        return content

    class Removal(Splices):
        def find(self) -> None:
            for mapping in _mappings(self.root, one):
                for place, (key, _node) in enumerate(mapping.pairs()):
                    if key.value in _names(one) and not key.alias:
                        self.remove(mapping, place, str(key.value), "")

    edited, _lines = Removal.rewrite(content, path)
    _check(content, edited, path, one)
    if _has(edited, path, one):
        raise AccelError(f"{path}: {one.key} is merged in, so it can't be removed; edit the file by hand")
    return edited


def _has(content: bytes, path: str, one: Setting) -> bool:
    found = _mappings(document.compose(content, path), one)
    return any(key.value in _names(one) for mapping in found for key, _node in mapping.pairs())


def _names(one: Setting) -> set[str]:
    """Return the names that the setting's key has, or had, in its mapping."""
    return {key.rpartition(".")[2] for key in one.keys}


def _mappings(root: Node | None, one: Setting) -> list[Node]:
    """Return the mappings that may hold the setting: the document, or its section's part of it."""
    name = str(one.key).rpartition(".")[0]
    if root is None or not name:
        return [] if root is None else [root]
    return [node for key, node in root.pairs() if key.value == name and node.mapping]


def _check(old: bytes, new: bytes, path: str, one: Setting) -> None:
    """Check that nothing but the one setting reads differently, such as the value of an anchor.

    Raises:
        AccelError: something does.
    """
    try:
        same = _others(old, path, one) == _others(new, path, one)
    except AccelError:
        same = False
    if not same:
        raise AccelError(f"{path}: {one.key} can't be changed without changing another key; edit the file by hand")


def _others(content: bytes, path: str, one: Setting) -> list[tuple[str, object]]:
    """Return every key and value but the setting's own."""
    root = document.compose(content, path)
    found: list[tuple[str, object]] = []
    for key, node in root.pairs() if root else []:
        if node.mapping and key.value == one.section.key:
            found += [(f"{key.value}.{inner.value}", value.plain()) for inner, value in node.pairs()]
        elif key.value != one.section.key:
            found.append((str(key.value), node.plain()))
    return [(name, value) for name, value in found if name not in one.keys]


def change(catalogue: Catalogue, path: str, pairs: list[tuple[str, str]]) -> list[str]:
    """Change settings in the file at ``path``, all of them or none; return a line on each change.

    Raises:
        AccelError: a name or a value isn't valid, or the file can't be changed.
    """
    wanted = [(one, _read(one, text)) for one, text in ((_in_files(catalogue, name), text) for name, text in pairs)]
    own = own_path(path, os.environ)
    lines: list[str] = []
    with storage.locked(path):
        found = {file: content_of(file) for file in (path, own) if file is not None}
        contents = dict(found)
        for one, value in wanted:
            held = [parse(catalogue, content, file).values.get(one.name) for file, content in contents.items()]
            before = next((value for value in reversed(held) if value is not None), None)
            where = own if own is not None and one.ours else path
            for file in contents if value is None else [path] if where == own else ():
                contents[file] = without(contents[file], file, one)
            if value is not None:
                contents[where] = assign(contents[where], where, one, value)
            now = parse(catalogue, contents[where], where).values.get(one.name)
            place = f" ({now.origin})" if now is not None else ""
            lines.append(f"{one.key}: {_shown(one, before)} -> {_shown(one, Value(value))}{place}")
            lines += (
                [f"note: {REFUSED.format(key=one.key)}"] if value is not None and one.ours and where == path else []
            )
        for file, content in reversed(contents.items()):  # ours first: a key that moves is never in neither
            if content != found[file]:
                storage.replace(file, content)
    return lines


def _shown(one: Setting, value: Value | None) -> str:
    if value is None or value.value is None:
        return "unset"
    text = line(shown(one, value))
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def _in_files(catalogue: Catalogue, name: str) -> Setting:
    one = catalogue.named(name)
    if one.key is None:
        raise SettingError(f"{one.name} can't be set in a config file; use the flag {one.flags[0]}")
    if one.deprecated:
        raise SettingError(f"{one.key} has no effect: {one.deprecated}")
    return one


def _read(one: Setting, text: str) -> object:
    """Return what a file should hold for ``text``: the text itself if it means "unset" by another word.

    Raises:
        SettingError: it isn't a valid value.
    """
    if text == "null":
        return None
    if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
        raise SettingError(f"value of {one.key}: it isn't text in the terminal's encoding")
    raw: object = text
    if text[:1] in ("[", "{") and (one.kind is dict or one.many):
        raw = _json(text)
    elif one.many and not one.default:
        raw = one.listed(text) if text else []
    value = one.parse(raw, Origin(f"value of {one.key}"))
    return text if value is None else spelling.plain(one, value)


def _json(text: str) -> object:
    import json

    try:
        return json.loads(text)
    except ValueError as error:
        raise SettingError(f"{text[:LONGEST]} isn't valid JSON: {error}") from None
    except RecursionError:
        raise SettingError(f"{text[:LONGEST]}...: nested beyond what a setting needs") from None


def content_of(path: str) -> bytes:
    """Return the file's bytes; none if it doesn't exist.

    Raises:
        AccelError: it can't be read.
    """
    try:
        return document.read(path)
    except FileNotFoundError:
        return b""
