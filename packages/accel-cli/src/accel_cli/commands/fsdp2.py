"""`to-fsdp2`: converts a config file from FSDP 1 to FSDP 2, and keeps every other byte of it."""

from __future__ import annotations

import os

from accel_config import CATALOGUE, AccelError, front
from accel_config.errors import FAILED
from accel_config.reading.files import parse
from accel_config.writing.edit import assign, content_of
from accel_config.writing.spelling import scalar
from accel_config.writing.splices import Splices
from accel_launch.planning.environment import RESHARDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Sequence

    from accel_config.reading.node import Node

SECTION = "fsdp_config"
STRATEGY, RESHARD = "fsdp_sharding_strategy", "fsdp_reshard_after_forward"
DROPPED = {
    "fsdp_backward_prefetch": "FSDP 2 has one way to prefetch",
    "fsdp_forward_prefetch": "FSDP 2 has no such setting yet",
    "fsdp_sync_module_states": "FSDP 2 synchronizes them where needed",
    "fsdp_use_orig_params": "FSDP 2 always uses the original parameters",
}


def main(argv: Sequence[str] | None = None, program: str = "accelerate-to-fsdp2") -> int:
    """Convert the file that the arguments name; return the exit status."""
    return front.run(lambda words: _to_fsdp2(words, program), argv, program)


def _to_fsdp2(words: list[str], program: str) -> int:
    changes = _convert(parser(program).parse_args(words))
    front.tell(program, changes)
    return 0


def parser(program: str) -> ArgumentParser:
    """Return the parser of the command's arguments."""
    from accel_cli.commands.parser import Parser

    found = Parser(program, "Convert a config file from FSDP 1 to FSDP 2.")
    found.flag("--config_file", metavar="FILE", required=True, help="The config file to convert.")
    found.flag("--output_file", metavar="FILE", help="Write the result to FILE.")
    found.flag(
        "--overwrite",
        action="store_true",
        help="Replace the output file if it exists; without --output_file, replace the config file itself.",
    )
    return found


def _convert(arguments: Namespace) -> list[str]:
    """Read, convert, write; return a line for each change."""
    from accel_config.writing import storage

    source, target = _places(arguments)
    content = content_of(source)
    if not content.strip():
        raise AccelError(f"{source}: the config file is empty")
    new, changes = converted(content, source)
    written = new != content or target != source
    with storage.locked(target):
        if os.path.lexists(target) and not arguments.overwrite:
            raise AccelError(f"{target} already exists; give --overwrite to replace it")
        if content_of(source) != content:
            raise AccelError(f"another process has just changed {source}; try again", status=FAILED)
        if written:
            storage.replace(target, new)
    return [*changes, f"wrote {target}" if written else f"{target} is unchanged"]


def _places(arguments: Namespace) -> tuple[str, str]:
    """Return the path to read and the path to write.

    Raises:
        AccelError: a path isn't usable, or the two paths stand for different formats.
    """
    source = os.path.expanduser(arguments.config_file)  # noqa: PTH111
    if not os.path.isfile(source):  # noqa: PTH113
        what = "isn't a file" if os.path.exists(source) else "doesn't exist"  # noqa: PTH110
        raise AccelError(f"--config_file: the config file {source} {what}")
    if arguments.output_file is None:
        if not arguments.overwrite:
            raise AccelError(
                "there is nowhere to write; give --output_file FILE, or --overwrite to change the config file itself"
            )
        return source, source
    target = os.path.expanduser(arguments.output_file)  # noqa: PTH111
    if os.path.lexists(target) and not arguments.overwrite:
        raise AccelError(f"--output_file: {target} already exists; give --overwrite to replace it")
    if source.endswith(".json") != target.endswith(".json"):
        raise AccelError(f"--output_file: {target} must have the same format as {source}, JSON or YAML")
    return source, target


def converted(content: bytes, path: str) -> tuple[bytes, list[str]]:
    """Return the file's content for FSDP 2, and a line for each change.

    Raises:
        AccelError: the file can't be read, has an invalid value, or can't be changed in place.
    """
    read = parse(CATALOGUE, content, path)
    read.refuse()
    if not any(key.startswith(f"{SECTION}.") for key in read.keys) and not _Changes(content, path).section:
        return content, [f"{path}: there is no {SECTION}, so nothing changes"]
    version = read.values.get("fsdp_version")
    if version is not None and version.value != 1:
        return content, [f"{path}: fsdp_version is already {version.value} ({version.origin})"]
    new = assign(content, path, CATALOGUE.by_name["fsdp_version"], 2)
    new, lines = _Changes.rewrite(new, path)
    _check(content, new, path)
    return new, [f"{path}: {line}" for line in ("fsdp_version is now 2", *lines)]


def _check(old: bytes, new: bytes, path: str) -> None:
    """Check that other settings read as before, and that no setting of FSDP 1 alone remains.

    Raises:
        AccelError: the conversion has changed another setting, or has left one of FSDP 1.
    """
    ours = {"fsdp_version", STRATEGY, RESHARD, "fsdp_state_dict_type", *DROPPED}
    before, after = (parse(CATALOGUE, content, path) for content in (old, new))
    kept = {name for name in before.values.keys() | after.values.keys() if name not in ours}
    same = all(
        name in before.values and name in after.values and before.values[name].value == after.values[name].value
        for name in kept
    )
    if after.problems or not same or after.values.keys() & {STRATEGY, *DROPPED}:
        raise AccelError(f"{path}: the conversion would change another key too; edit the file by hand")


class _Changes(Splices):
    """The changes that turn a text's settings of FSDP 1 into those of FSDP 2."""

    @property
    def section(self) -> Node | None:
        """The mapping of FSDP's settings, or None."""
        pairs = self.root.pairs() if self.root else []
        return next((node for key, node in pairs if key.value == SECTION and node.pairs()), None)

    def find(self) -> None:
        """Collect the changes."""
        section = self.section
        if section is None:
            return
        pairs = section.pairs()
        names = [self._name(key) for key, _node in pairs]
        for place, (key, node) in enumerate(pairs):
            if key.alias:
                continue  # the key comes from a merged mapping; the check reports it if it matters
            name = names[place]
            if name in DROPPED:
                self.remove(section, place, f"{SECTION}.{key.value}", DROPPED[name])
            elif name == RESHARD and STRATEGY in names:
                self.remove(section, place, f"{SECTION}.{RESHARD}", f"FSDP 1 uses {STRATEGY} instead")
            elif name in (STRATEGY, RESHARD):
                self._strategy(key, node)
            elif name == "fsdp_state_dict_type":
                self._state_dict(node)

    @staticmethod
    def _name(key: Node) -> str:
        one = CATALOGUE.by_key.get(f"{SECTION}.{key.value}")
        return one.name if one is not None else str(key.value)

    def _strategy(self, key: Node, node: Node) -> None:
        """Replace a sharding strategy by FSDP 2's setting."""
        from accel_config.settings.origin import DEFAULT

        named = None if node.value is None else CATALOGUE.by_name[STRATEGY if key.value == STRATEGY else RESHARD]
        value = named.parse(node.plain(), DEFAULT) if named is not None else None
        reshard = RESHARDS.get(str(value))
        if key.value == STRATEGY:
            self.replace(key, scalar(RESHARD, self.path))
        elif reshard is None:
            return
        if reshard is not None:
            self.replace(node, reshard)
        written = " ".join(self.of(node).split())  # the value may have several lines
        self.changes.append(f"{SECTION}.{key.value} {written} is now {RESHARD} {reshard or 'null'}")

    def _state_dict(self, node: Node) -> None:
        if str(node.value).upper() == "LOCAL_STATE_DICT":
            self.replace(node, scalar("SHARDED_STATE_DICT", self.path))
            self.changes.append(
                f"{SECTION}.fsdp_state_dict_type is now SHARDED_STATE_DICT, FSDP 2's only sharded type"
            )
