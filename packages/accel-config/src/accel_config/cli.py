"""`config`: writes, reads, checks and explains config files. Arguments come in here; messages and status go out."""

from __future__ import annotations

import os
import sys

from .catalogue import CATALOGUE
from .console import show
from .errors import AccelError
from .origin import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Callable, Sequence

    from .origin import Origin

FINDINGS = 1
USAGE = 2
INTERRUPTED = 130
PRECISIONS = next(one.choices for one in CATALOGUE.settings if one.name == "mixed_precision")
SCHEMA_LINE = "# yaml-language-server: $schema="


def main(argv: Sequence[str] | None = None, program: str = "accel-config") -> int:
    """Do what the arguments say; return the exit status."""
    try:
        arguments = _parser(program).parse_args(sys.argv[1:] if argv is None else list(argv))
    except SystemExit as stop:  # argparse has said why, or printed the help
        return USAGE if stop.code is None else int(stop.code)
    try:
        return COMMANDS[arguments.command or "wizard"][0](arguments, program)
    except AccelError as error:
        for line in str(error).splitlines():
            print(f"{program}: {line}", file=sys.stderr)
        return error.status
    except (KeyboardInterrupt, EOFError):
        print(f"{program}: interrupted; nothing was written", file=sys.stderr)
        return INTERRUPTED


def _parser(program: str) -> ArgumentParser:
    from argparse import SUPPRESS, ArgumentParser

    file = ArgumentParser(add_help=False, argument_default=SUPPRESS)
    file.add_argument(
        "--config_file", "--config-file", metavar="PATH", help="the config file (default: the one launch reads)"
    )
    parser = ArgumentParser(program, description="Ask about this machine and write a config file.", parents=[file])
    parser.set_defaults(command=None, yes=False, overwrite=False)
    _writing(parser)
    parser.add_argument("--yes", action="store_true", help="ask nothing: take the answer proposed for each question")
    commands = parser.add_subparsers(metavar="COMMAND", title="commands")
    for name, (_run, help_line, declare) in COMMANDS.items():
        if declare is not None:
            command = commands.add_parser(name, parents=[file], help=help_line, description=help_line)
            command.set_defaults(command=name)
            declare(command)
    return parser


def _writing(parser: ArgumentParser) -> None:
    parser.add_argument("--overwrite", action="store_true", help="replace a file that is there")


def _default_arguments(parser: ArgumentParser) -> None:
    _writing(parser)
    parser.add_argument(
        "--mixed_precision", "--mixed-precision", choices=PRECISIONS, default="no", help="in which format to compute"
    )


def _validate_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--strict", action="store_true", help="fail for notes too")


def _json_argument(parser: ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")


def _get_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("key", metavar="KEY", help="a key, nested with a dot, or the name of its flag")


def _set_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("pairs", metavar="KEY VALUE", nargs="+", help="keys, each followed by its value; null unsets")


def _schema_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--output", metavar="PATH", help="write it there, and say how editors find it")


def _no_arguments(_parser: ArgumentParser) -> None:
    pass


def _location(arguments: Namespace) -> tuple[str, Origin | None]:
    """Return the config file's path, and who named it; None where it is the default one."""
    from .layers import location

    return location(CATALOGUE, getattr(arguments, "config_file", None), os.environ)


def _existing(arguments: Namespace, program: str) -> str:
    """Return the path of a config file that is there.

    Raises:
        AccelError: it isn't, or is no file.
    """
    path, origin = _location(arguments)
    if os.path.isfile(path):
        return path
    what = "is no file" if os.path.exists(path) else "doesn't exist"
    raise AccelError(f"{origin or 'the default'}: the config file {path} {what}; `{program}` writes one")


def _wizard(arguments: Namespace, program: str) -> int:
    from .wizard import wizard

    return wizard(_location(arguments)[0], program, yes=arguments.yes, overwrite=arguments.overwrite)


def _default(arguments: Namespace, program: str) -> int:
    from .wizard import default

    return default(_location(arguments)[0], arguments.mixed_precision, program, overwrite=arguments.overwrite)


def _update(arguments: Namespace, program: str) -> int:
    from .migration import update

    path = _existing(arguments, program)
    changes = update(path)
    for change in changes:
        show(f"{path}: {change}\n")
    show(f"{path}: {'updated' if changes else 'nothing to update'}\n")
    return 0


def _validate(arguments: Namespace, program: str) -> int:
    from .checking import check

    path = _existing(arguments, program)
    found = check(CATALOGUE, path)
    for problem in found.problems:
        show(f"{problem}\n")
    for note in found.notes:
        show(f"{note.replace(message=f'note: {note.message}')}\n")
    if found.problems or (arguments.strict and found.notes):
        return FINDINGS
    show(f"{path}: valid\n")
    return 0


def _show(arguments: Namespace, _program: str) -> int:
    from . import listing
    from .flags import Typed
    from .layers import layers
    from .settings import resolve

    path, origin = _location(arguments)
    given = {"config_file": Value(path, origin)} if origin is not None else {}
    found = layers(CATALOGUE, Typed(given, (), help=False, notes=()), os.environ)
    settings = resolve(CATALOGUE, found.values, found.notes)
    if origin is None and found.config_file is not None:
        settings = settings.with_file(found.config_file)
    for note in found.notes:
        print(f"note: {note}", file=sys.stderr)
    show(listing.as_json(settings) if arguments.json else listing.table(settings))
    return 0


def _get(arguments: Namespace, _program: str) -> int:
    from .files import load
    from .listing import word
    from .settings import resolve

    one = CATALOGUE.named(arguments.key)
    path, origin = _location(arguments)
    values: dict[str, Value] = {}
    if origin is not None or os.path.isfile(path):
        read = load(CATALOGUE, path)
        read.refuse()
        values = read.values
    value = resolve(CATALOGUE, [values]).value(one.name)
    show(f"{word(value.value)}\n")
    return 0


def _set(arguments: Namespace, _program: str) -> int:
    from .edit import change

    words: list[str] = arguments.pairs
    if len(words) % 2:
        raise AccelError(f"{words[-1]} has no value: give each key followed by its value")
    path, _origin = _location(arguments)
    for line in change(CATALOGUE, path, list(zip(words[::2], words[1::2], strict=True))):
        show(f"{line}\n")
    return 0


def _path(arguments: Namespace, _program: str) -> int:
    show(f"{_location(arguments)[0]}\n")
    return 0


def _schema(arguments: Namespace, _program: str) -> int:
    from . import schema, storage

    text = schema.text(CATALOGUE)
    if not arguments.output:
        show(text)
        return 0
    storage.save(arguments.output, text.encode())
    show(f"{arguments.output} is written. In a config file, this first line tells editors:\n")
    show(f"{SCHEMA_LINE}{os.path.abspath(arguments.output)}\n")
    return 0


COMMANDS: dict[str, tuple[Callable[[Namespace, str], int], str, Callable[[ArgumentParser], None] | None]] = {
    "wizard": (_wizard, "", None),  # without a command
    "default": (_default, "Write a config file that suits this machine, without questions.", _default_arguments),
    "update": (_update, "Bring an old config file up to date; values, comments and order stay.", _no_arguments),
    "validate": (_validate, "Check a config file.", _validate_arguments),
    "show": (_show, "Show every setting with its value and where that comes from.", _json_argument),
    "get": (_get, "Print a setting as the config file has it, or its default.", _get_arguments),
    "set": (_set, "Change settings in the config file, and nothing else in it.", _set_arguments),
    "path": (_path, "Print where the config file is.", _no_arguments),
    "schema": (_schema, "Print the JSON Schema of config files, for editors.", _schema_arguments),
}
