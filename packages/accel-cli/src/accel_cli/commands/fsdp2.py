"""`to-fsdp2`: turns a config file for FSDP 1 into one for FSDP 2, and leaves every other byte of it as it was."""

from __future__ import annotations

import os
import sys

from accel_config import CATALOGUE, AccelError
from accel_config.edit import assign, content_of
from accel_config.files import parse
from accel_config.spelling import scalar
from accel_config.splices import Splices
from accel_launch.environment import RESHARDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Sequence

    from accel_config.document import Node

USAGE = 2
SECTION = "fsdp_config"
STRATEGY, RESHARD = "fsdp_sharding_strategy", "fsdp_reshard_after_forward"
DROPPED = {
    "fsdp_backward_prefetch": "FSDP 2 has one way to prefetch",
    "fsdp_forward_prefetch": "FSDP 2 has no such setting yet",
    "fsdp_sync_module_states": "FSDP 2 does it where it is needed",
    "fsdp_use_orig_params": "FSDP 2 always uses the original parameters",
}
MOST_LOOKS = 50  # each look at a text finds what the one before had to leave


def main(argv: Sequence[str] | None = None, program: str = "accelerate-to-fsdp2") -> int:
    """Convert the file that the arguments name; return the exit status."""
    try:
        arguments = _parser(program).parse_args(sys.argv[1:] if argv is None else list(argv))
    except SystemExit as stop:  # argparse has said why, or printed the help
        return USAGE if stop.code is None else int(stop.code)
    try:
        said = _convert(arguments)
    except AccelError as error:
        for line in str(error).splitlines():
            print(f"{program}: {line}", file=sys.stderr)
        return error.status
    for line in said:
        print(f"{program}: {line}", file=sys.stderr)
    return 0


def _parser(program: str) -> ArgumentParser:
    from argparse import ArgumentParser

    parser = ArgumentParser(program, description="Turn an FSDP 1 config into one for FSDP 2.")
    parser.add_argument("--config_file", "--config-file", metavar="PATH", required=True, help="the file to convert")
    parser.add_argument("--output_file", "--output-file", metavar="PATH", help="where to write the result")
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace the output file if it is there; without --output_file, the config file itself",
    )
    return parser


def _convert(arguments: Namespace) -> list[str]:
    """Read, convert, write; return what is to be said about it."""
    from accel_config import storage

    source, target = _places(arguments)
    content = content_of(source)
    if not content.strip():
        raise AccelError(f"{source}: the config file is empty")
    new, said = converted(content, source)
    with storage.locked(target):
        if os.path.lexists(target) and not arguments.overwrite:
            raise AccelError(f"{target} is there already: give --overwrite to replace it")
        if content_of(source) != content:
            raise AccelError(f"{source} was changed by somebody else just now: try again", status=1)
        if new != content or target != source:
            storage.replace(target, new)
    return [*said, f"{target} is written" if new != content or target != source else f"{target} is left as it is"]


def _places(arguments: Namespace) -> tuple[str, str]:
    """Return the paths to read and to write.

    Raises:
        AccelError: there is nothing to read, nowhere to write, or the two would be of different formats.
    """
    source = os.path.expanduser(arguments.config_file)  # noqa: PTH111
    if not os.path.isfile(source):  # noqa: PTH113
        what = "is no file" if os.path.exists(source) else "doesn't exist"  # noqa: PTH110
        raise AccelError(f"--config_file: the config file {source} {what}")
    if arguments.output_file is None:
        if not arguments.overwrite:
            raise AccelError(
                "give --output_file PATH for the result, or --overwrite to change the config file itself"
            )
        return source, source
    target = os.path.expanduser(arguments.output_file)  # noqa: PTH111
    if os.path.lexists(target) and not arguments.overwrite:
        raise AccelError(f"--output_file: {target} is there already: give --overwrite to replace it")
    if source.endswith(".json") != target.endswith(".json"):
        raise AccelError(f"--output_file: {target} would hold what {source} is, and its name says another format")
    return source, target


def converted(content: bytes, path: str) -> tuple[bytes, list[str]]:
    """Return the file's content for FSDP 2, and what was changed in it.

    Raises:
        AccelError: it can't be read, holds what can't be, or can't be changed in place.
    """
    read = parse(CATALOGUE, content, path)
    read.refuse()
    if not any(key.startswith(f"{SECTION}.") for key in read.keys) and not _Changes(content, path).section:
        return content, [f"{path}: it has no {SECTION}, so there is nothing to change"]
    version = read.values.get("fsdp_version")
    if version is not None and version.value != 1:
        return content, [f"{path}: it is for FSDP {version.value} already ({version.origin})"]
    new = assign(content, path, CATALOGUE.by_name["fsdp_version"], 2)
    said = [f"{path}: fsdp_version is 2 now"]
    for _look in range(MOST_LOOKS):
        changes = _Changes(new, path)
        changes.find()
        new = changes.applied()
        said += [f"{path}: {line}" for line in changes.said]
        if not changes.said:
            break
    _check(content, new, path)
    return new, said


def _check(old: bytes, new: bytes, path: str) -> None:
    """Raise AccelError where a setting that isn't of this conversion reads differently, or FSDP 1's are still in."""
    ours = {"fsdp_version", STRATEGY, RESHARD, "fsdp_state_dict_type", *DROPPED}
    before, after = (parse(CATALOGUE, content, path) for content in (old, new))
    kept = {name for name in before.values.keys() | after.values.keys() if name not in ours}
    same = all(
        name in before.values and name in after.values and before.values[name].value == after.values[name].value
        for name in kept
    )
    if after.problems or not same or after.values.keys() & {STRATEGY, *DROPPED}:
        raise AccelError(f"{path}: it can't be converted without changing another key: edit it by hand")


class _Changes(Splices):
    """What is of FSDP 1 in a text."""

    @property
    def section(self) -> Node | None:
        """The mapping of FSDP's settings, None where there is none."""
        pairs = self.root.pairs() if self.root else []
        return next((node for key, node in pairs if key.value == SECTION and node.pairs()), None)

    def find(self) -> None:
        """Find what to change."""
        section = self.section
        if section is None:
            return
        pairs = section.pairs()
        names = [self._name(key) for key, _node in pairs]
        for place, (key, node) in enumerate(pairs):
            if key.alias:
                continue  # of a mapping that is merged in; the check says so if it matters
            name = names[place]
            if name in DROPPED:
                self.remove(section, place, f"{SECTION}.{key.value}", DROPPED[name])
            elif name == RESHARD and STRATEGY in names:
                self.remove(section, place, f"{SECTION}.{RESHARD}", f"FSDP 1 goes by {STRATEGY}")
            elif name in (STRATEGY, RESHARD):
                self._strategy(key, node)
            elif name == "fsdp_state_dict_type":
                self._state_dict(node)

    @staticmethod
    def _name(key: Node) -> str:
        one = CATALOGUE.by_key.get(f"{SECTION}.{key.value}")
        return one.name if one is not None else str(key.value)

    def _strategy(self, key: Node, node: Node) -> None:
        """Say a sharding strategy in FSDP 2's terms."""
        from accel_config.origin import DEFAULT

        named = None if node.value is None else CATALOGUE.by_name[STRATEGY if key.value == STRATEGY else RESHARD]
        value = named.parse(node.plain(), DEFAULT) if named is not None else None
        reshard = RESHARDS.get(str(value))
        if key.value == STRATEGY:
            self.splice(key, scalar(RESHARD, self.path))
        elif reshard is None:
            return
        if reshard is not None:
            self.splice(node, reshard)
        written = " ".join(self.of(node).split())  # over several lines, perhaps
        self.said.append(f"{SECTION}.{key.value} {written} is {RESHARD} {reshard or 'null'} now")

    def _state_dict(self, node: Node) -> None:
        if str(node.value).upper() == "LOCAL_STATE_DICT":
            self.splice(node, scalar("SHARDED_STATE_DICT", self.path))
            self.said.append(
                f"{SECTION}.fsdp_state_dict_type is SHARDED_STATE_DICT now: FSDP 2 has no other in shards"
            )
