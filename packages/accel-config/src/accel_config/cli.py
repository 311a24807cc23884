"""`config`: writes, reads, checks and explains config files."""

from __future__ import annotations

import os

from accel_config import front
from accel_config.asking.asker import left
from accel_config.catalogue import CATALOGUE
from accel_config.errors import FAILED, AccelError
from accel_config.settings.origin import Value
from accel_config.showing.console import answer, data, is_terminal, show, width
from accel_config.showing.printable import one_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Callable, Mapping, Sequence

    from accel_config.settings.origin import Origin

    Command = tuple[Callable[[Namespace, str], int], str, Callable[[ArgumentParser], None] | None]
    """What runs it, its line in the help, and what declares its arguments."""

PRESETS = CATALOGUE.by_name["preset"].choices
PRECISIONS = CATALOGUE.by_name["mixed_precision"].choices
SCHEMA_LINE = "# yaml-language-server: $schema="


def main(
    argv: Sequence[str] | None = None, program: str = "accel-config", more: Mapping[str, Command] | None = None
) -> int:
    """Run the command with the words of ``argv`` (default: the process's own); return the exit status.

    ``more`` are commands of other packages, by name.
    """

    def command(words: list[str]) -> int:
        arguments = parser(program, more).parse_args(words)
        try:
            return {**COMMANDS, **(more or {})}[arguments.command or "wizard"][0](arguments, program)
        except KeyboardInterrupt:
            raise left() from None

    return front.run(command, argv, program)


def parser(program: str, more: Mapping[str, Command] | None = None) -> ArgumentParser:
    """Return the parser of the command's arguments, with a parser for each of its own commands, and for ``more``."""
    from argparse import SUPPRESS

    from accel_config.showing.arguments import Parser

    file = Parser(add_help=False, argument_default=SUPPRESS)
    file.add_argument(
        "--config_file",
        "--config-file",
        metavar="FILE",
        help="The config file. [default: the file that launch reads]",
    )
    found = Parser(program, description="Ask about this machine and write a config file.", parents=[file])
    found.set_defaults(command=None, yes=False, overwrite=False, preset=None)
    found.add_argument("--version", action="store_true", help="Print the version and exit.")
    _writing(found)
    found.add_argument("--yes", action="store_true", help="Take the proposed answer to each question.")
    found.add_argument("--preset", choices=PRESETS, help="Propose the values of a preset.")
    commands = found.add_subparsers(metavar="COMMAND", title="commands")
    for name, (_run, help_line, declare) in {**COMMANDS, **(more or {})}.items():
        if declare is not None:
            command = commands.add_parser(name, parents=[file], help=help_line, description=help_line)
            command.set_defaults(command=name)
            declare(command)
    return found


def _writing(parser: ArgumentParser) -> None:
    parser.add_argument("--overwrite", action="store_true", help="Replace a file that exists.")


def _default_arguments(parser: ArgumentParser) -> None:
    _writing(parser)
    parser.add_argument(
        "--mixed_precision",
        "--mixed-precision",
        choices=PRECISIONS,
        default=None,
        help="The number format to train in. [default: no]",
    )
    parser.add_argument(
        "--preset", choices=PRESETS, help="Write this preset, with a comment for each choice. [default: no preset]"
    )


def _validate_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--strict", action="store_true", help="Fail on notes too.")


def _show_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--all", action="store_true", help="Show the built-in settings too.")
    parser.add_argument("--json", action="store_true", help="Print JSON.")


def _get_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "keys", metavar="KEY", nargs="+", help="Keys, nested with a dot, or names of flags; each value gets a line."
    )


def _set_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "pairs", metavar="KEY VALUE", nargs="+", help="Keys, each followed by its value; null removes a key."
    )


def _schema_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--output", metavar="FILE", help="Write the schema to FILE, and print how editors find it.")


def _no_arguments(_parser: ArgumentParser) -> None:
    pass


def _show_line(line: str) -> None:
    """Print a line of a report, which may quote what is in the file."""
    from accel_config.showing.masking import sentence

    show(f"{one_line(sentence(line))}\n")


def location(arguments: Namespace) -> tuple[str, Origin | None]:
    """Return the config file's path and the origin of that path; None for the default path."""
    from accel_config.reading import layers

    return layers.location(CATALOGUE, getattr(arguments, "config_file", None), os.environ)


def _existing(arguments: Namespace, program: str) -> str:
    """Return the path of a config file that exists.

    Raises:
        AccelError: it doesn't exist, or isn't a file.
    """
    path, origin = location(arguments)
    if os.path.isfile(path):
        return path
    what = "isn't a file" if os.path.exists(path) else "doesn't exist"
    raise AccelError(f"{origin or 'the default'}: the config file {path} {what}; `{program}` writes one")


def _wizard(arguments: Namespace, program: str) -> int:
    if arguments.version:
        from accel_config import __version__

        show(f"accel-config {__version__}\n")
        return 0
    from accel_config.asking.wizard import wizard

    return wizard(
        location(arguments)[0],
        program,
        yes=arguments.yes,
        overwrite=arguments.overwrite,
        preset=arguments.preset,
    )


def _default(arguments: Namespace, program: str) -> int:
    from accel_config.asking import wizard

    path = location(arguments)[0]
    if arguments.preset and arguments.mixed_precision:
        raise AccelError(
            f"--preset {arguments.preset} sets the precision; change it afterwards: "
            f"`{program} set mixed_precision {arguments.mixed_precision}`"
        )
    if arguments.preset:
        text = wizard.of_preset(path, arguments.preset)
    else:
        text = wizard.suited(path, arguments.mixed_precision or "no")
    return wizard.default(path, text, program, overwrite=arguments.overwrite)


def _update(arguments: Namespace, program: str) -> int:
    from accel_config.writing.migration import update

    path = _existing(arguments, program)
    changes = update(path)
    for change in changes:
        _show_line(f"{path}: {change}")
    _show_line(f"{path}: {'updated' if changes else 'nothing to update'}")
    return 0


def _validate(arguments: Namespace, program: str) -> int:
    from accel_config.checking.file import check
    from accel_config.reading.places import own_path

    path = _existing(arguments, program)
    found = check(CATALOGUE, path, own_path(path, os.environ))
    for problem in found.problems:
        _show_line(str(problem))
    for note in found.notes:
        _show_line(str(note.replace(message=f"note: {note.message}")))
    if found.problems or (arguments.strict and found.notes):
        return FAILED
    _show_line(f"{path}: valid")
    return 0


def _show(arguments: Namespace, _program: str) -> int:
    from accel_config.reading.flags import Typed
    from accel_config.reading.layers import layers
    from accel_config.settings.resolved import resolve
    from accel_config.showing import listing

    path, origin = location(arguments)
    given = {"config_file": Value(path, origin)} if origin is not None else {}
    found = layers(CATALOGUE, Typed(given, (), help=False, notes=()), os.environ)
    settings = resolve(CATALOGUE, found.values, found.notes)
    if origin is None and found.config_file is not None:
        settings = settings.with_file(found.config_file)
    front.tell("note", found.notes)
    columns = width(os.environ) if is_terminal() else None
    if arguments.json:
        data(listing.as_json(settings))
    else:
        show(listing.file_table(settings, everything=arguments.all, width=columns))
    return 0


def _get(arguments: Namespace, _program: str) -> int:
    from accel_config.reading.own import load_all
    from accel_config.reading.places import own_path
    from accel_config.settings.resolved import resolve
    from accel_config.showing.wording import word

    wanted = [CATALOGUE.named(key) for key in arguments.keys]
    path, origin = location(arguments)
    values: dict[str, Value] = {}
    own = own_path(path, os.environ)
    if origin is not None or os.path.isfile(path) or (own is not None and os.path.isfile(own)):
        read = load_all(CATALOGUE, path, own)
        read.refuse()
        values = read.values
    settings = resolve(CATALOGUE, [values])
    for one in wanted:
        answer(word(settings.value(one.name).value))
    return 0


def _set(arguments: Namespace, _program: str) -> int:
    from accel_config.writing.edit import change

    words: list[str] = arguments.pairs
    if len(words) % 2:
        raise AccelError(f"{words[-1]} has no value; type each key with its value after it")
    path, _origin = location(arguments)
    for line in change(CATALOGUE, path, list(zip(words[::2], words[1::2], strict=True))):
        _show_line(line)
    return 0


def _path(arguments: Namespace, _program: str) -> int:
    answer(location(arguments)[0])
    return 0


def _schema(arguments: Namespace, _program: str) -> int:
    from accel_config.writing import schema, storage

    text = schema.text(CATALOGUE)
    if not arguments.output:
        data(text)
        return 0
    storage.save(arguments.output, text.encode())
    show(f"{one_line(arguments.output)} is written. Editors find it by this first line of a config file:\n")
    show(f"{SCHEMA_LINE}{one_line(os.path.abspath(arguments.output))}\n")
    return 0


COMMANDS: dict[str, Command] = {
    "wizard": (_wizard, "", None),  # without a command
    "default": (_default, "Write a config file that suits this machine, without questions.", _default_arguments),
    "update": (_update, "Update the keys and values of an old config file; comments and order stay.", _no_arguments),
    "validate": (_validate, "Check a config file.", _validate_arguments),
    "show": (_show, "Show the settings that are set, with their values and origins.", _show_arguments),
    "get": (_get, "Print the values of settings in the config file, or their defaults.", _get_arguments),
    "set": (_set, "Change settings in the config file; the rest of it stays.", _set_arguments),
    "path": (_path, "Print the path of the config file.", _no_arguments),
    "schema": (_schema, "Print the JSON Schema of config files, for editors.", _schema_arguments),
}
