"""What those engines share that start every machine's ranks from this one: hosts, a meeting point, torch's names."""

from __future__ import annotations

import os

from accel_config.catalogue import Rendezvous
from accel_config.record import Record

from .. import target
from ..explain import quote
from . import MEETING
from .local import meeting_point
from .torchrun import RANK as PARENT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from . import Order

# Settings of torch's agents and of the launchers that look after them, which these engines do without.
AGENT = (*MEETING, "rdzv_conf", "monitor_interval", "max_restarts")


class Listed(Record):
    """A host of a hostfile."""

    name: str
    slots: int | None
    """How many ranks it takes; None where the file doesn't say."""


def hostfile(order: Order, setting: str) -> tuple[str, tuple[Listed, ...]]:
    """Return the path of the hostfile that ``setting`` names, and the hosts in it.

    Raises:
        AccelError: it is missing, can't be read, lists no host, or fewer than there are machines.
    """
    value = order.settings.value(setting)
    path = os.path.join(order.host.cwd, os.path.expanduser(str(value.value)))
    said = f"{setting} {value.value} ({value.origin})"
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            hosts = parse(file.read())
    except OSError as error:
        order.findings.here(f"{said} can't be read: {error.strerror}")
        return path, ()
    machines = order.laid.machines
    asked = f"num_machines is {machines} ({order.settings.origin('num_machines')})"
    if not hosts:
        order.findings.here(f"{said} lists no host: write one on each line, such as 'node-1 slots=8'")
    elif len(hosts) < machines:
        order.findings.here(f"{said} lists {len(hosts)} of the machines, but {asked}")
    return path, hosts


def spare(order: Order, setting: str, hosts: Sequence[Listed]) -> str:
    """Return a sentence on hosts that are listed beyond the number of machines; nothing where there are none."""
    machines = order.laid.machines
    if len(hosts) <= machines:
        return ""
    value = order.settings.value(setting)
    asked = f"num_machines is {machines} ({order.settings.origin('num_machines')})"
    return f"{setting} {value.value} ({value.origin}) lists {len(hosts)} hosts, but {asked}"


def parse(text: str) -> tuple[Listed, ...]:
    """Read a hostfile in Open MPI's and DeepSpeed's form (``node slots=8``) or in Hydra's (``node:8``)."""
    found: list[Listed] = []
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        if not words:
            continue
        name, _, count = words[0].partition(":")
        for word in words[1:]:
            key, _, number = word.partition("=")
            count = number if key == "slots" else count
        found.append(Listed(name, int(count) if count.isdecimal() else None))
    return tuple(found)


def meeting(order: Order, first: str) -> tuple[str, int]:
    """Return where the ranks meet: ``first`` is the host of rank 0, as the list of hosts says it.

    All ranks are told by this one launcher, so the port may be any. That one is free here makes it likely on the host
    of rank 0, which often is this one; a fixed port would collide as soon as two runs share a host.
    """
    if order.laid.machines == 1:
        return meeting_point(order)
    rendezvous = order.settings[Rendezvous]
    address, port = rendezvous.main_process_ip or first, rendezvous.main_process_port or order.host.ask.free_port()
    if not rendezvous.main_process_ip:
        order.findings.notes.append(f"main_process_ip isn't set: {address}, the first host")
    if not rendezvous.main_process_port:
        order.findings.notes.append(f"main_process_port isn't set: {port}")
    return address, port


def named(names: Mapping[str, str], words: Sequence[str]) -> tuple[str, ...]:
    """Return a command that runs ``words`` with torch's variables set from those that ``names`` gives for them.

    The shell becomes the program, so nothing stands between it and its parent.
    """
    told = [f'{torch}="${{{own}:?}}"' for torch, own in names.items()]
    export = f"export {' '.join(told)}; " if told else ""
    # A word that is a colon would divide commands for mpirun and srun, so there it goes inside the shell's text.
    if ":" in words:
        return "sh", "-c", f"{export}exec {' '.join(map(quote, words))}"
    return ("sh", "-c", f'{export}exec "$@"', "sh", *words) if export else tuple(words)


def followed(order: Order, words: Sequence[str]) -> tuple[str, ...]:
    """Return a command that runs ``words`` under a parent that tells our supervisor how they end."""
    return target.interpreter(order.settings, order.host), PARENT, *words


def assignments(variables: Mapping[str, str]) -> tuple[str, ...]:
    """Return the variables as words ``NAME=text``."""
    return tuple(f"{name}={text}" for name, text in variables.items())
