"""`launch --help`, made from the catalogue: an overview, a section, every flag, or the flags that match a word."""

from __future__ import annotations

from accel_config.showing.columns import INDENT, entry, paragraph
from accel_config.showing.wording import word

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from accel_config.settings.declaration import Section, Setting
    from accel_config.settings.index import Catalogue

USAGE = "usage: {program} [flags] SCRIPT [arguments of the script]"
PURPOSE = "Start a training script on the devices of this machine, on several machines, on a TPU or on SageMaker."
SOURCES = (
    "Each flag can be written with hyphens instead of underscores. Each setting can also come from the config file "
    "or from the variable ACCELERATE_LAUNCH_<NAME>. Flags win over variables, variables over the scheduler (Slurm, "
    "mpirun, ...), the scheduler over the config file."
)
EVERYTHING = "all"
_OWN = (
    ("-h, --help [TOPIC]", "Print help on a section, on a word, or on 'all' flags, and exit."),
    ("--version", "Print the version of accel-launch and exit."),
)
_KINDS = {"bool": "[true|false]", "int": "N", "Span": "N", "float": "X", "Duration": "TIME", "dict": "JSON"}


def text(catalogue: Catalogue, program: str, topic: str, width: int) -> str:
    """Return the help on ``topic``: a section, a word, ``all``; an overview if it is empty.

    Raises:
        SettingError: no section is called that, and no flag matches.
    """
    if not topic:
        return _overview(catalogue, program, width)
    if topic.lower() == EVERYTHING:
        found = [_section(section, width) for section in catalogue.sections if _flags(section.settings)]
        return _joined(*_head(program, width), _entries((), width, _OWN), *found)
    sections = _named(catalogue, topic)
    if sections:
        return _joined(*(_section(section, width) for section in sections))
    return _matching(catalogue, program, topic, width)


def topics(catalogue: Catalogue) -> list[str]:
    """Return the words that ``--help`` takes: those of sections, and ``all``."""
    return [*(section.short for section in catalogue.sections), EVERYTHING]


def _joined(*parts: str) -> str:
    return "\n\n".join(parts) + "\n"


def _head(program: str, width: int) -> tuple[str, ...]:
    return paragraph(USAGE.format(program=program), width), paragraph(PURPOSE, width)


def _overview(catalogue: Catalogue, program: str, width: int) -> str:
    common = [one for one in catalogue.settings if one.common]
    column = max(len(section.short) for section in catalogue.sections) + 4
    sections = [entry(section.short, _summary(section), width, column) for section in catalogue.sections]
    more = (
        f"`{program} --help SECTION` prints the flags of a section, `{program} --help {EVERYTHING}` every flag, and "
        f"`{program} --help WORD` the flags with that word in their names or texts."
    )
    return _joined(
        *_head(program, width),
        f"Common flags:\n{_entries(common, width, _OWN)}",
        "\n".join(["Sections:", *sections]),
        paragraph(more, width),
        paragraph(SOURCES, width),
    )


def _summary(section: type[Section]) -> str:
    """Return a section's title with the first sentence on it."""
    return f"{section.title}. {_words(section).partition('. ')[0].removesuffix('.')}."


def _words(section: type[Section]) -> str:
    return " ".join((section.__doc__ or "").replace("``", "'").split())


def _section(section: type[Section], width: int) -> str:
    described = _words(section)
    if section.key:
        described += f" In a config file, these keys stand below {section.key}."
    return f"{section.title}\n{paragraph(described, width)}\n\n{_entries(_flags(section.settings), width)}"


def _flags(settings: Iterable[Setting]) -> list[Setting]:
    return [one for one in settings if one.flags]


def _entries(settings: Iterable[Setting], width: int, more: Iterable[tuple[str, str]] = ()) -> str:
    return "\n".join(
        [*(entry(*own, width) for own in more), *(entry(*_described(one, width), width) for one in settings)]
    )


def _named(catalogue: Catalogue, topic: str) -> list[type[Section]]:
    """Return the section that ``topic`` names by its word, key or title, else those that have it in their titles."""
    wanted = _plain(topic)
    for section in catalogue.sections:
        if wanted in (section.short, _plain(section.title), _plain(section.key)):
            return [section]
    words = {word.removesuffix("s") for word in wanted.split()}
    return [s for s in catalogue.sections if words <= {word.removesuffix("s") for word in _plain(s.title).split()}]


def _plain(text: str) -> str:
    """Return ``text`` in small letters, its words separated by single spaces."""
    letters = (letter if letter.isalnum() else " " for letter in text.lower())
    return " ".join("".join(letters).split()).removesuffix(" config")


def _matching(catalogue: Catalogue, program: str, topic: str, width: int) -> str:
    """Return the flags that have the words of ``topic`` in their names or texts.

    Raises:
        SettingError: there are none.
    """
    words = _plain(topic).split()
    found = [one for one in _flags(catalogue.settings) if all(w in _plain(f"{one.name} {one.help}") for w in words)]
    if not found or not words:
        from accel_config.errors import SettingError, nearest

        names = [*topics(catalogue), *(section.title for section in catalogue.sections), *catalogue.by_name]
        raise SettingError(
            f"--help: no section is called {topic!r}, and no flag has it in its name or text{nearest(topic, names)}",
            f"`{program} --help` lists the sections",
        )
    have = "1 flag has" if len(found) == 1 else f"{len(found)} flags have"
    parts = [paragraph(f"{have} {topic!r} in the name or text.", width)]
    for section in catalogue.sections:
        if own := [one for one in found if one.section is section]:
            heading = paragraph(f"{section.title} (--help {section.short}):", width)
            parts.append(f"{heading}\n{_entries(own, width)}")
    return _joined(*parts)


def _described(one: Setting, width: int) -> tuple[str, str]:
    """Return the flag of a setting with its value, and the text on it."""
    flag = f"{one.short}, --{one.name}" if one.short else f"--{one.name}"
    choices = [word(choice) for choice in one.choices]
    metavar, listed = one.metavar, one.registry != ""
    if not metavar and one.choices:
        metavar = f"[{'|'.join(choices[1:])}]" if one.switch else f"{{{','.join(choices)}}}"
        if len(flag) + len(metavar) + INDENT > width:
            metavar, listed = "NAME", True
    elif not metavar and not one.switch:
        metavar = _kind(one)
    off = f", {one.off}" if one.off else ""
    head = f"{flag} {metavar}{off}" if metavar else flag + off
    return head, _text(one, listed)


def _kind(one: Setting) -> str:
    """Return what a value of the setting's type is called."""
    if one.pairs:
        return "NAME=VALUE"
    if one.many and one.default:
        return ",".join(["BOOL"] * len(one.default))
    return _KINDS.get(one.kind.__name__, "TEXT")


def _text(one: Setting, listed: bool) -> str:
    choices = f" One of {', '.join(one.known)}." if listed and one.known else ""
    default = one.default_text or ("" if one.default in (None, (), "", False) else word(one.default))
    shown = f" [default: {default}]" if default else ""
    deprecated = f" Deprecated: {one.deprecated}." if one.deprecated else ""
    return one.help + choices + deprecated + shown
