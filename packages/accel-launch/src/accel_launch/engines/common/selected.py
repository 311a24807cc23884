"""What is for some ranks: the tools before them (``wrap``), and their variables (``rank_env``)."""

from __future__ import annotations

from accel_config.catalogue import Launcher, Output, Resources
from accel_config.checking.ranks import selected, words
from accel_config.errors import SettingError
from accel_launch.planning.display import run_name
from accel_launch.ranks.tool import ENV, WRAP, fill, parted, under

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_config.checking.ranks import Selected
    from accel_launch.engines.context import LaunchContext
    from accel_launch.planning.types import Command


def selecting(context: LaunchContext) -> tuple[str, ...]:
    """Return the words before those of a rank by which `accel_launch.ranks.tool` knows what is for which rank.

    Raises:
        SettingError: something is for a rank that the run doesn't have.
    """
    launcher = context.settings[Launcher]
    context.findings.selected = True
    name = {"n": context.settings[Output].name or run_name(context.script)}
    found: list[str] = []
    for one in map(selected, launcher.wrap):
        _check(context, "wrap", one)
        own = [fill(word, name) for word in words(one.rest)]
        found += [WRAP, one.ranks, str(len(own)), *own]
    for one in map(selected, launcher.rank_env):
        _check(context, "rank_env", one)
        found += [ENV, one.ranks, fill(one.rest, name)]
    return tuple(found)


def _check(context: LaunchContext, name: str, one: Selected) -> None:
    total = context.layout.total
    # Elastic runs, and filters of an engine, leave open how many there are.
    known = not context.settings[Resources].num_machines.elastic and "num_processes" not in context.findings.ignored
    if known and (rank := one.beyond(total)):
        ranks = f"its ranks are 0-{total - 1}" if total > 1 else "its one rank is 0"
        raise SettingError(
            f"{context.settings.origin(name)}: {name} {one.ranks}: the run has no rank {rank}; {ranks}"
        )


def with_own(context: LaunchContext, command: Command) -> Command:
    """Return the command of a rank with what is for this rank.

    Raises:
        SettingError: something is for a rank that the run doesn't have.
    """
    numbers = {"RANK": command.rank, "LOCAL_RANK": command.local_rank, "WORLD_SIZE": context.layout.total}
    facts = {name: str(number) for name, number in numbers.items()}
    tool, variables, argv = parted([*selecting(context), *command.argv], facts, context.host.name)
    return command.replace(argv=under(tool, argv), env={**command.env, **variables}, tooled=bool(tool))
