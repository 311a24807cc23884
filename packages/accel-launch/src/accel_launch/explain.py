"""What would run, and why: the plan as a shell script or JSON, the settings with their origins."""

from __future__ import annotations

from accel_config.masking import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from accel_config.origin import Value
    from accel_config.section import Setting
    from accel_config.settings import Settings

    from .plan import Command, Plan

SAFE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789@%+=:,./-_")


def quote(text: str) -> str:
    """Quote a word for the shell, as `shlex.quote` does, which would cost the start-up a regular expression."""
    return text if text and SAFE.issuperset(text) else "'" + text.replace("'", "'\"'\"'") + "'"


def shell(plan: Plan) -> str:
    """Return the plan as a shell script that does the same, but for the looking after."""
    lines = ["#!/bin/sh", f"# {plan.summary}", *(f"# note: {note}" for note in plan.notes)]
    if plan.request is not None:
        lines.append(plan.request.text())
    if plan.lifeline is not None:
        lines.append(f"# the launchers meet at {plan.lifeline.meeting_place}")
    shared = _shared(plan.commands)
    lines += [f"# rank {c.rank} on {c.device}" for c in plan.commands if c.device is not None]
    lines += [f"export {name}={quote(text)}" for name, text in sorted(shared.items())]
    last = len(plan.commands) - 1
    for place, command in enumerate(plan.commands):
        own = [f"{name}={quote(text)}" for name, text in command.env.items() if name not in shared]
        folder = f"cd {quote(command.cwd)} && " if command.cwd else ""
        lines.append(folder + " ".join([*own, *map(quote, command.argv)]) + (" &" if last else ""))
        if place == last and last:
            lines.append("wait")
    return "\n".join(lines) + "\n"


def _shared(commands: Sequence[Command]) -> dict[str, str]:
    """Return the variables that every command is given with the same text."""
    first = commands[0].env if commands else {}
    return {name: text for name, text in first.items() if all(other.env.get(name) == text for other in commands)}


def as_json(plan: Plan, settings: Settings) -> str:
    """Return the plan and the settings as JSON, in the form that ``docs/launch.md`` describes."""
    import json

    commands = [
        {
            "argv": list(command.argv),
            "env": command.env,
            "cwd": command.cwd,
            "rank": command.rank,
            "local_rank": command.local_rank,
            "device": command.device,
        }
        for command in plan.commands
    ]
    told = {one.name: {"value": shown(one, value), "origin": value.origin.text} for one, value in settings}
    notes = list(plan.notes)
    whole: dict[str, object] = {"engine": plan.engine, "commands": commands, "settings": told, "notes": notes}
    if plan.preload:
        whole["preload"] = list(plan.preload)
    if plan.request is not None:
        whole["request"] = plan.request.data()
    if plan.lifeline is not None:
        whole["lifeline"] = dict(plan.lifeline)
    return json.dumps(whole, indent=2) + "\n"


def table(settings: Settings) -> str:
    """Return every setting with its value and origin, those that somebody gave first."""
    given = [(one, value) for one, value in settings if value.given]
    built_in = [(one, value) for one, value in settings if not value.given]
    return _rows([*given, *built_in])


def _rows(pairs: Iterable[tuple[Setting, Value]]) -> str:
    rows = [(one.name, _text(shown(one, value)), value.origin.text) for one, value in pairs]
    wide = [max(len(row[column]) for row in rows) for column in (0, 1)]
    return "".join(f"{name:<{wide[0]}}  {text:<{min(wide[1], 40)}}  {origin}\n" for name, text, origin in rows)


def _text(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
