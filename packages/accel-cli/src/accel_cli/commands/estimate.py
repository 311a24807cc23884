"""`estimate-memory`: accel-estimate's own command, with ``--config_file`` for the settings of a launch config."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Sequence

    from accel_estimate import Recipe


def main(argv: Sequence[str] | None = None, program: str = "accelerate-estimate-memory") -> int:
    """Estimate with the arguments of a command line; return the exit status."""
    from accel_estimate.__main__ import main as estimate

    return estimate(argv, program, launch_config=_recipe)


def parser(program: str) -> ArgumentParser:
    """Return the parser of the command's arguments."""
    from accel_estimate import options

    return options.parser(program, launch_config=True)


def _recipe(path: str) -> Recipe:
    """Read a launch config. The catalogue and the launcher's checks are imported only then."""
    from accel_cli.gate import described
    from accel_cli.recipe import read

    return described(read(path))
