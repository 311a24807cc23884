"""New config files: from the answers of a person, or from what suits the machine."""

from __future__ import annotations

import os
import sys

from accel_config import front
from accel_config.asking import makers
from accel_config.asking.answers import NEEDED
from accel_config.asking.asker import Back, Proposals
from accel_config.asking.conversation import review
from accel_config.asking.interview import Interview
from accel_config.asking.machine import this_machine
from accel_config.catalogue import CATALOGUE
from accel_config.errors import FAILED, AccelError
from accel_config.reading import presets
from accel_config.reading.files import parse
from accel_config.showing.console import show, width
from accel_config.showing.printable import one_line
from accel_config.writing import own, spelling, storage
from accel_config.writing.edit import content_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from accel_config.asking.asker import Asker, Person
    from accel_config.reading.files import Read
    from accel_config.settings.origin import Value

SAVE, CHANGE, LEAVE = "Save them", "Change an answer", "Leave without writing a file"
METHODS = (
    ("full", "All weights"),
    ("lora", "Adapters (LoRA)"),
    ("qlora", "Adapters on 4-bit weights (QLoRA)"),
)
PLAIN_TERMINALS = ("dumb", "unknown")


def wizard(path: str, program: str, *, yes: bool, overwrite: bool, preset: str | None = None) -> int:
    """Ask, write the file at ``path``, print it and the command that launches with it; return the exit status.

    With ``preset`` its values are proposed, instead of those of a file that exists.

    Raises:
        AccelError: there is no terminal to ask on, or the file can't be written.
    """
    proposed = presets.values(CATALOGUE, preset) if preset else None
    if yes:
        return write(path, _text(path, earlier=proposed), program, overwrite=overwrite)
    asker = _asker(program)
    exists = os.path.exists(path)
    if exists and not overwrite and not _replaces(asker, path):
        show(f"{one_line(path)} isn't changed; `{program} set KEY VALUE` changes single settings\n")
        return FAILED
    if proposed is None and exists:
        proposed = _earlier(asker, path)
    machine = this_machine()
    asker.greet()
    if machine.count and not preset and sys.stdin.isatty():  # answers from a pipe keep their order
        proposed = _for_model(asker) or proposed
    interview = Interview(asker, machine, earlier=proposed, makers=makers.names())
    content = _reviewed(interview, asker, path)
    if content is None:
        show("nothing was written\n")
        return FAILED
    theirs, ours = own.divided(content, path)
    text = spelling.document(theirs, path)
    failures = _make(interview)
    write(path, text, program, overwrite=True)
    if (beside := own.put(path, ours)) is not None:
        show(f"{one_line(beside)} has what only this launcher knows: {', '.join(ours)}\n")
    for line in interview.closing:
        show(f"{one_line(line)}\n")
    for failure in failures:
        front.fail(program, failure)
    return FAILED if failures else 0


def default(path: str, text: str, program: str, *, overwrite: bool) -> int:
    """Write a file with ``text``; return the exit status.

    A file that exists isn't changed, which is a success: scripts call this before each launch.

    Raises:
        AccelError: the file can't be written.
    """
    if os.path.isfile(path) and not overwrite:
        show(_compared(path, text)[1])
        return 0
    return write(path, text, program, overwrite=overwrite, shown=False)


def suited(path: str, precision: str) -> str:
    """Return the text of a file that suits this machine, with ``precision`` as ``mixed_precision``."""
    return _text(path, {"mixed_precision": precision})


def of_preset(path: str, name: str) -> str:
    """Return the text of the preset called ``name``, with the number of this machine's devices."""
    return spelling.translated(presets.text(name, this_machine().count), path)


def _asker(program: str) -> Person:
    """Return who asks here: with arrow keys, or line by line where answers are piped or the cursor can't move."""
    without = (
        f"questions need a terminal, or answers on standard input, one a line; `{program} --yes` takes the proposed "
        f"answers, and `{program} set KEY VALUE` changes single settings"
    )
    if sys.stdin is None:  # pyright: ignore[reportUnnecessaryComparison] - closed by ``<&-``
        raise AccelError(without)
    if sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM", "").lower() not in PLAIN_TERMINALS:
        from accel_config.asking.terminal import Terminal

        return Terminal()
    from accel_config.asking.lines import Lines

    return Lines(without)


def _reviewed(interview: Interview, asker: Asker, path: str) -> dict[str, object] | None:
    """Ask everything, and let the person change answers until they are to be saved; None: leave without a file."""
    while True:
        content = interview.run()
        taken = interview.conversation.taken
        rows = review(taken, width(os.environ))
        try:
            asker.advise("\n".join(["", *rows, ""]))
            chosen = asker.choose(f"Save these answers in {path}?", (SAVE, CHANGE, LEAVE), 0)
            if chosen != 1:
                return content if chosen == 0 else None
            interview.conversation.change(asker.choose("Which answer do you want to change?", rows, 0))
        except Back:
            interview.conversation.back()


def _replaces(asker: Asker, path: str) -> bool:
    try:
        return asker.confirm(f"{path} exists. Replace it at the end?", False)
    except Back:
        return False


def _text(path: str, fixed: dict[str, object] | None = None, *, earlier: Mapping[str, Value] | None = None) -> str:
    """Return the text of a file that suits this machine."""
    return spelling.document(Interview(Proposals(), this_machine(), fixed, earlier=earlier).run(), path)


def _for_model(asker: Asker) -> Mapping[str, Value] | None:
    """Ask for a model, and return the values that fit it; None where there is none to fit."""
    recommender = makers.recommender()
    if recommender is None:
        return None
    try:
        if not asker.confirm("Should the settings fit a model?", False):
            return None
        name = asker.text(
            "Which model (a repository on the Hub, a folder or a weight file)?",
            "",
            lambda text: "" if text.strip() else NEEDED,
            hidden=False,
        )
        method = METHODS[asker.choose("What do you want to train?", tuple(label for _name, label in METHODS), 0)][0]
        told, text = recommender.load()(name.strip(), method)
    except Back:
        return None
    except AccelError as error:
        asker.report(f"{error}\nThe wizard goes on without the model.")
        return None
    asker.advise(told)
    return parse(CATALOGUE, text.encode(), "").values


def _earlier(asker: Asker, path: str) -> Mapping[str, Value]:
    """Return the values of the file that will be replaced; none where it can't be read."""
    try:
        return parse(CATALOGUE, content_of(path), path).values
    except AccelError as error:
        asker.report(f"{error}\nThe wizard proposes nothing from this file.")
        return {}


def _make(interview: Interview) -> list[str]:
    """Make what the answers name and doesn't exist yet; return the failures."""
    failures: list[str] = []
    for setting in interview.to_make():
        settings = interview.settings()
        try:
            interview.closing += makers.make(setting.name, settings)
        except AccelError as error:
            name = settings.value(setting.name).value
            way_out = f"make it, or name another with `set {setting.key}`; the config file is written anyway"
            failures.append(f"{name} wasn't made: {error}; {way_out}")
    return failures


def write(path: str, text: str, program: str, *, overwrite: bool, shown: bool = True) -> int:
    """Write a file with ``text``, and print it if ``shown``; return the exit status.

    A file that exists stays as it is, unless ``overwrite`` is set; then the status is 1 if it has other values.
    """
    with storage.locked(path):
        if os.path.isfile(path) and not overwrite:
            same, line = _compared(path, text)
            (show if same else front.say)(line)
            return 0 if same else FAILED
        storage.replace(path, text.encode())
    if shown:
        show("\n" + "".join(f"    {line}\n" for line in text.splitlines()) + "\n")
        show(f"Launch with it: {one_line(_launch(path, program))}\n")
    show(f"The config file is saved at {one_line(path)}\n")
    return 0


def _compared(path: str, text: str) -> tuple[bool, str]:
    """Return whether the file has the values of ``text``, and the line that says that it isn't changed."""
    wanted = parse(CATALOGUE, text.encode(), path)
    try:
        found = parse(CATALOGUE, content_of(path), path)
    except AccelError:
        found = None
    if found is not None and not found.problems and _values(found) == _values(wanted):
        return True, f"{one_line(path)} already has these values\n"
    return False, f"{one_line(path)} exists and has other values, so it isn't changed; --overwrite replaces it\n"


def _values(read: Read) -> dict[str, object]:
    return {name: one.value for name, one in read.values.items()}


def _launch(path: str, program: str) -> str:
    import shlex

    from accel_config.reading.places import default_path

    command = program.rpartition(" ")[0]
    start = f"{command} launch" if command else "accel-launch"
    file = [] if path == default_path(os.environ) else ["--config_file", shlex.quote(path)]
    return " ".join([start, *file, "SCRIPT"])
