"""The JSON Schema of config files, for editors. It accepts what the reader accepts, and rejects wrong types."""

from __future__ import annotations

from accel_config.reading.files import LEGACY
from accel_config.settings.readers import FALSE, TRUE, Duration
from accel_config.settings.span import Span
from accel_config.writing import spelling

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from accel_config.settings.declaration import Section, Setting
    from accel_config.settings.index import Catalogue

DRAFT = "http://json-schema.org/draft-07/schema#"  # the newest that editors' YAML support knows throughout
SPAN = r"^\s*[0-9]+\s*(:\s*[0-9]+\s*)?$"
INTEGER = r"^\s*[-+]?[0-9][0-9_]*(\.0*)?([eE][-+]?[0-9]+)?\s*$"
NUMBER = r"^\s*[-+]?([0-9][0-9_]*(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?\s*$"
_PART = r"([0-9]+(\.[0-9]*)?|\.[0-9]+)"
DURATION = rf"^\s*(?=\S)({_PART}[dD])?({_PART}[hH])?({_PART}[mM])?({_PART}[sS]?)?\s*$"
SCALARS = ("string", "number", "boolean")


def text(catalogue: Catalogue) -> str:
    """Return the schema as JSON text."""
    import json

    return json.dumps(schema(catalogue), indent=2) + "\n"


def schema(catalogue: Catalogue) -> dict[str, object]:
    """Return the schema: today's keys, the old ones that are still read, and nothing else at the top level."""
    properties: dict[str, object] = {}
    for section in catalogue.sections:
        if section.key:
            properties[section.key] = _mapping(section)
        else:
            properties.update(_properties(section.settings, nested=False))
    for key in LEGACY:
        properties.setdefault(key, {"deprecated": True, "description": "Read for old files; `update` replaces it."})
    return {
        "$schema": DRAFT,
        "title": "Accelerate config",
        "type": ["object", "null"],
        "properties": dict(sorted(properties.items())),
        "additionalProperties": False,
    }


def _mapping(section: type[Section]) -> dict[str, object]:
    """Return the schema of a nested mapping. It allows unknown keys, which are only notes for the reader."""
    return {
        "description": section.__doc__ or section.title,
        "type": ["object", "null"],
        "properties": _properties(section.settings, nested=True),
    }


def _properties(settings: Iterable[Setting], *, nested: bool) -> dict[str, object]:
    found: dict[str, object] = {}
    for one in settings:
        for key in one.keys:
            own = key.partition(".")[2] if nested else key
            found[own] = _setting(one) if key == one.key else {**_setting(one), "deprecated": True}
    return found


def _setting(one: Setting) -> dict[str, object]:
    named = f" One of {', '.join(one.known)}." if one.registry and one.known else ""
    described: dict[str, object] = {"description": one.help + named}
    if one.default is not None:
        described["default"] = spelling.plain(one, one.default)
    if one.deprecated:
        return {"description": f"No effect: {one.deprecated}.", "deprecated": True}
    return {**described, "anyOf": [*_forms(one), {"type": "null"}]}


def _forms(one: Setting) -> list[dict[str, object]]:
    """Return what a file may hold for it."""
    items = _values(one)
    if one.many or one.joins:
        listed: dict[str, object] = {"type": "array", "items": {"anyOf": items}}
        if one.default and one.many:
            listed |= {"minItems": len(one.default), "maxItems": len(one.default)}
            return [listed, {"type": "string"}]
        return [listed, *items]
    return items


def _values(one: Setting) -> list[dict[str, object]]:
    if one.kind is dict:
        return [{"type": "object"}]
    if one.choices:
        return _choices(one)
    if one.kind is bool:
        return [{"type": "boolean"}, _words([*TRUE, *FALSE, *one.unset]), {"enum": [0, 1]}]
    if one.pairs:  # old files hold one empty text for a question that was skipped
        return [{"type": "string", "pattern": r"^([A-Za-z_]\w*(=|$)|$)"}]
    if one.kind is str:
        return [{"type": list(SCALARS)}]
    bounds = {"minimum": one.minimum, "maximum": one.maximum}
    number: dict[str, object] = {"type": "integer" if issubclass(one.kind, int) else "number"}
    number |= {name: bound for name, bound in bounds.items() if bound is not None}
    unset = [int(text) for text in one.unset if text.lstrip("-").isdecimal()]
    return [
        number,
        *([{"enum": [0]}] if one.or_zero else []),
        {"type": "string", "pattern": _pattern(one)},
        *([_words(one.unset)] if one.unset else []),
        *([{"enum": unset}] if unset else []),
    ]


def _pattern(one: Setting) -> str:
    if one.kind is Span:
        return SPAN
    if one.kind is Duration:
        return f"({NUMBER})|({DURATION})"
    return INTEGER if issubclass(one.kind, int) else NUMBER


def _choices(one: Setting) -> list[dict[str, object]]:
    """Return the choices as written today, which editors complete, then in any case and by the names of old files.

    A word that YAML 1.1 reads as a boolean (`no`) may arrive as one.
    """
    texts = [str(choice) for choice in one.choices] + list(one.renamed) + list(one.unset)
    forms: list[dict[str, object]] = [{"enum": list(one.choices)}, _words(texts)]
    numbers = [int(text) for text in texts if text.isdecimal()]
    if numbers:
        forms.append({"enum": numbers})
    booleans = [value for value, words in ((True, TRUE), (False, FALSE)) if words & {text.lower() for text in texts}]
    if booleans:
        forms.append({"enum": booleans})
    return forms


def _words(words: Iterable[str]) -> dict[str, object]:
    """Return a pattern for any of ``words`` in any case: JSON Schema's patterns have no flag for that."""
    import re

    def either(letter: str) -> str:
        return f"[{letter.upper()}{letter.lower()}]" if letter.isalpha() else re.escape(letter)

    spelled = sorted({"".join(map(either, word)) for word in words if word})
    return {"type": "string", "pattern": rf"^\s*({'|'.join(spelled)})\s*$"}
