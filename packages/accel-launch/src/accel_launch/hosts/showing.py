"""What ``--hosts`` would do: the command for each machine, and what it gets, each value with its origin."""

from __future__ import annotations

import os

from accel_config.catalogue import CATALOGUE, Launcher, Rendezvous
from accel_config.showing.masking import command_line, shown
from accel_config.showing.wording import line
from accel_launch.hosts import ssh
from accel_launch.planning.quoting import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from accel_launch.hosts.assigning import Place
    from accel_launch.hosts.carrying.tree import Tree
    from accel_launch.hosts.hosts_plan import HostsPlan
    from accel_launch.planning.types import Plan

OWN = ("machine_rank", "nproc_per_node")
"""Settings that differ between the machines."""


def shell(plan: HostsPlan) -> str:
    """Return comments and commands: what the machines get comes by standard input, never in a command."""
    shared = {name: value for name, value in plan.places[0].values.items() if name not in OWN}
    lines = ["#!/bin/sh", _comment("each machine gets by standard input, as one line of JSON:")]
    lines += [_comment(f"  {name} {_value(name, value)} ({value.origin})") for name, value in shared.items()]
    lines += [_comment(f"  {text}") for text in _found_later(plan)]
    lines += [_comment(f"  the variable {name}={text} (--env)") for name, text in plan.masked.items()]
    lines += [
        *(_comment(f"  {text}") for text in _carried(plan)),
        _comment(f"  the script {' '.join(map(quote, _script(plan)))}"),
    ]
    lines += [_comment(f"note: {note}") for note in plan.findings.notes]
    for place in plan.places:
        own = [
            f"{name} {_value(name, place.values[name])} ({place.values[name].origin})"
            for name in OWN
            if name in place.values
        ]
        where = ", this machine" if place.here else ""
        told = f": {', '.join(own)}" if own else ""
        lines.append(_comment(f"machine {place.rank}, {place.machine.label}{where}{told}"))
        lines.append(" ".join(map(quote, words(plan, place))))
    return "\n".join(lines) + "\n"


def words(plan: HostsPlan, place: Place) -> tuple[str, ...]:
    """Return the command for a machine."""
    carried = plan.launcher is not None
    return ssh.launcher(plan.python) if place.here else ssh.command(place.machine, plan.python, carried=carried)


def recorded(plan: HostsPlan, command: Sequence[str]) -> Plan:
    """Return what the record of the run tells, which ``command`` has started.

    Raises:
        SettingError: its name isn't valid.
    """
    from accel_launch.planning.display import recording
    from accel_launch.planning.types import Command, Plan

    commands = tuple(Command(words(plan, place), {}, label=place.machine.label) for place in plan.places)
    kept = recording(plan.settings, "").replace(command=tuple(command))
    return Plan("hosts", commands, grace=float(plan.settings[Launcher].grace), recording=kept)


def as_json(plan: HostsPlan) -> str:
    """Return the same as JSON, with all settings."""
    import json

    hosts = [
        {
            "host": place.machine.label,
            "argv": list(words(plan, place)),
            "here": place.here,
            "settings": {
                name: {"value": shown(CATALOGUE.by_name[name], value), "origin": value.origin.text}
                for name, value in place.values.items()
            },
        }
        for place in plan.places
    ]
    settings = {one.name: {"value": shown(one, value), "origin": value.origin.text} for one, value in plan.settings}
    whole = {"hosts": hosts, "env": plan.masked, "cwd": plan.host.cwd, "script": _script(plan)}
    whole |= {"code": _measured(plan.code), "launcher": _measured(plan.launcher)}
    whole |= {"settings": settings, "notes": [*_found_later(plan), *plan.findings.notes]}
    return json.dumps(whole, indent=2) + "\n"


def _script(plan: HostsPlan) -> list[str]:
    """Return the script and its arguments, without secrets."""
    return command_line(plan.code.script if plan.code else plan.script)


def _carried(plan: HostsPlan) -> list[str]:
    """Return the folder of the run, and what is carried to machines other than this one."""
    found = list[str]()
    if plan.launcher is not None:
        found.append(f"the launcher: {plan.launcher.summary} (--sync_launcher)")
    if plan.code is None:
        return [*found, f"the folder {plan.host.cwd} (this one)"]
    folder = os.path.normpath(os.path.join(plan.code.folder, plan.code.cwd))
    return [*found, f"the code: {plan.code.summary}, from {plan.code.root} (--sync)", f"the folder {folder}"]


def _measured(tree: Tree | None) -> dict[str, object] | None:
    if tree is None:
        return None
    named = {name: getattr(tree, name) for name in ("folder", "cwd", "size", "root")}
    return {**named, "files": [name for name, *_ in tree.files]}


def _found_later(plan: HostsPlan) -> list[str]:
    """Return what only the run finds."""
    if not plan.several:
        return []
    first, found = plan.places[0].machine.label, list[str]()
    if not plan.settings[Rendezvous].main_process_ip:
        found.append(f"main_process_ip: the address by which ssh reaches {first}")
    if not plan.settings[Rendezvous].main_process_port:
        found.append(f"main_process_port: a port that is free on {first}")
    if not plan.settings[Rendezvous].lifeline_secret_file:
        found.append("the secret of the launchers: random words of this run")
    return found


def _value(name: str, value: object) -> str:
    return line(shown(CATALOGUE.by_name[name], value))  # pyright: ignore[reportArgumentType]


def _comment(text: str) -> str:
    return f"# {line(text)}"
