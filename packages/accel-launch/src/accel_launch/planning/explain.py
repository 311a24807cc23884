"""What would run: the plan as a shell script or as JSON."""

from __future__ import annotations

from accel_config.showing.masking import command_line, environment, sentence, shown
from accel_config.showing.secrets import MASK
from accel_config.showing.wording import line
from accel_launch.planning.quoting import assignment, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from accel_config.settings.resolved import Settings
    from accel_launch.planning.types import Command, Plan


def shell(plan: Plan) -> str:
    """Return the plan as a shell script that starts the same commands, without supervising them."""
    lines = ["#!/bin/sh", _comment(plan.summary), *(_comment(f"note: {sentence(note)}") for note in plan.notes)]
    if any(command_line(c.argv) != [*c.argv] or environment(c.env) != c.env for c in plan.commands):
        lines.append(f"# note: secrets aren't shown: put them where {MASK} stands")
    if plan.request is not None:
        lines.append(plan.request.text())
    if plan.lifeline is not None:
        lines.append(_comment(f"the launchers meet at {plan.lifeline.meeting_place}"))
    shared = _shared(plan.commands)
    lines += [_comment(f"rank {c.rank} on {c.device}") for c in plan.commands if c.device is not None]
    lines += [
        _comment(f"local rank {rank} on {'CPU' if cpus.isdecimal() else 'CPUs'} {cpus}")
        for rank, cpus in enumerate(plan.cpus)
    ]
    lines += [f"export {assignment(name, text)}" for name, text in sorted(environment(shared).items())]
    last = len(plan.commands) - 1
    for place, command in enumerate(plan.commands):
        own = [assignment(name, text) for name, text in environment(command.env).items() if name not in shared]
        folder = f"cd {quote(command.cwd)} && " if command.cwd else ""
        bound = ("taskset", "-c", command.cpus) if command.cpus else ()
        words = map(quote, [*bound, *command_line(command.argv)])
        lines.append(folder + " ".join([*own, *words]) + (" &" if last else ""))
        if place == last and last:
            lines.append("wait")
    return "\n".join(lines) + "\n"


def _comment(text: str) -> str:
    """Return a comment of one line: a line break in a value must not end it."""
    return f"# {line(text)}"


def _shared(commands: Sequence[Command]) -> dict[str, str]:
    """Return the variables that are the same for every command."""
    first = commands[0].env if commands else {}
    return {name: text for name, text in first.items() if all(other.env.get(name) == text for other in commands)}


def commands(plan: Plan) -> list[dict[str, object]]:
    """Return the plan's commands as data, without secrets."""
    return [
        {
            "argv": command_line(command.argv),
            "env": environment(command.env),
            "cwd": command.cwd,
            "rank": command.rank,
            "local_rank": command.local_rank,
            "device": command.device,
        }
        for command in plan.commands
    ]


def as_json(plan: Plan, settings: Settings) -> str:
    """Return the plan and the settings as JSON, in the form that ``docs/launch.md`` describes."""
    import json

    values = {one.name: {"value": shown(one, value), "origin": value.origin.text} for one, value in settings}
    notes = [sentence(note) for note in plan.notes]
    listed = commands(plan)
    whole: dict[str, object] = {"engine": plan.engine, "commands": listed, "settings": values, "notes": notes}
    if plan.preload:
        whole["preload"] = list(plan.preload)
    if plan.cpus:
        whole["cpus"] = list(plan.cpus)
    if plan.request is not None:
        whole["request"] = plan.request.data()
    if plan.lifeline is not None:
        whole["lifeline"] = {name: value for name, value in dict(plan.lifeline).items() if name != "subject"}
    return json.dumps(whole, indent=2) + "\n"
