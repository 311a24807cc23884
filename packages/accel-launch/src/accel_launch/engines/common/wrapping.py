"""The command of a rank, and what an engine wraps around it."""

from __future__ import annotations

import os

from accel_launch.planning import target
from accel_launch.planning.quoting import quote
from accel_launch.ranks import module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from accel_launch.engines.context import LaunchContext

MODULE = os.path.abspath(module.__file__)
PARENT = os.path.join(os.path.dirname(MODULE), "parent.py")
# Our programs for the ranks' interpreter need the standard library alone, and no variable or package changes that.
ALONE = ("-I", "-S")


def rank_command(context: LaunchContext) -> tuple[str, ...]:
    """Return the command of one rank: priority, interpreter, script and arguments.

    Python writes without a buffer, as under torchrun, so that output arrives in its order.
    """
    return target.argv(context.settings, context.host, context.script, unbuffered=True)


def with_parent(context: LaunchContext, words: Sequence[str]) -> tuple[str, ...]:
    """Return a command that runs ``words`` as one rank under `accel_launch.ranks.parent`.

    The parent gives the rank its streams and its error file, passes signals on, and reports its end to the
    supervisor. It needs `RANK` and `LOCAL_RANK` in its environment, and this package at the same path on each host.
    It also puts ``wrap``'s tools before the rank, and sets the variables of ``rank_env``. Where ranks must see only
    their own device, it chooses that from the visibility variable.
    """
    selected: tuple[str, ...] = ()
    if context.layout.apart:
        from accel_launch.ranks.tool import APART

        selected = (APART,)
    if context.selects:
        from accel_launch.engines.common.selected import selecting

        selected += selecting(context)
    return target.interpreter(context.settings, context.host), *ALONE, PARENT, *selected, *words


def refuse_slices(context: LaunchContext, where: str) -> None:
    """Refuse slices of devices (MIG) on other machines."""
    if context.layout.apart:
        context.findings.refuse_locally(
            f"{context.layout.device(0)} is a slice (MIG), and those of {where} aren't known here: start a launch on "
            "each machine, or switch MIG off"
        )


def binding(context: LaunchContext) -> dict[str, str]:
    """Return the variable by which `accel_launch.ranks.parent` binds each rank, or nothing."""
    from accel_launch.ranks.parent import BIND

    ranks = [f"{one.cpus}={one.threads}" if one.threads else one.cpus for one in context.bound]
    return {BIND: "/".join(ranks)} if ranks else {}


def module_command(context: LaunchContext, name: str) -> tuple[str, ...]:
    """Return the command of a launcher that is a module: `accel_launch.ranks.module` runs it, not ``python -m``."""
    return target.interpreter(context.settings, context.host), MODULE, name


def with_torch_variables(names: Mapping[str, str], words: Sequence[str]) -> tuple[str, ...]:
    """Return a command that runs ``words`` with torch's variables set from those of another launcher.

    A shell sets them and becomes the program, so no process stands between the program and its parent.

    Args:
        names: Torch's variables, each with the other launcher's: ``{"RANK": "FLUX_TASK_RANK"}``.
        words: The command.
    """
    pairs = [f'{torch}="${{{own}:?}}"' for torch, own in names.items()]
    export = f"export {' '.join(pairs)}; " if pairs else ""
    # mpirun and srun take a word that is a colon for the end of a command, so such words go inside the shell's text.
    if ":" in words:
        return "sh", "-c", f"{export}exec {' '.join(map(quote, words))}"
    return ("sh", "-c", f'{export}exec "$@"', "sh", *words) if export else tuple(words)


def assignments(variables: Mapping[str, str]) -> tuple[str, ...]:
    """Return the variables as words ``NAME=text``."""
    return tuple(f"{name}={text}" for name, text in variables.items())
