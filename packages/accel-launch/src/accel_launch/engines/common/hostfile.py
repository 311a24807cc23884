"""Hostfiles: the machines on which an engine starts ranks from this one."""

from __future__ import annotations

import os

from accel_config.record import Record
from accel_config.settings.readers import natural
from accel_config.showing.wording import describe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from accel_launch.engines.context import LaunchContext


class ListedHost(Record):
    """A host of a hostfile."""

    name: str
    slots: int | None
    """How many ranks it takes; None where the file doesn't say."""


def read_hostfile(context: LaunchContext, setting: str) -> tuple[str, tuple[ListedHost, ...]]:
    """Return the path of the hostfile that ``setting`` names, and its hosts; none where a dry run can't read it.

    Raises:
        AccelError: it can't be read, lists no host, or lists fewer than there are machines.
    """
    described = describe(context.settings, setting)
    path = os.path.join(context.host.cwd, os.path.expanduser(str(context.settings.value(setting).value)))
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            hosts = parse(file.read())
    except OSError as error:
        context.findings.refuse_locally(f"{described} can't be read: {error.strerror}")
        return path, ()
    if not hosts:
        context.findings.refuse_locally(
            f"{described} lists no host: write one on each line, such as 'node-1 slots=8'"
        )
    elif len(hosts) < context.layout.machines:
        context.findings.refuse_locally(f"{described} lists {len(hosts)} hosts, but {_machines(context)}")
    return path, hosts


def extra_hosts(context: LaunchContext, setting: str, hosts: Sequence[ListedHost]) -> str:
    """Return a sentence about hosts beyond the number of machines; nothing where there are none."""
    if len(hosts) <= context.layout.machines:
        return ""
    return f"{describe(context.settings, setting)} lists {len(hosts)} hosts, but {_machines(context)}"


def _machines(context: LaunchContext) -> str:
    return f"num_machines is {context.layout.machines} ({context.settings.origin('num_machines')})"


def parse(text: str) -> tuple[ListedHost, ...]:
    """Return the hosts of a file in Open MPI's and DeepSpeed's form (``node slots=8``) or in Hydra's (``node:8``)."""
    found: list[ListedHost] = []
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        if not words:
            continue
        name, _, count = words[0].partition(":") if words[0].count(":") == 1 else (words[0], "", "")
        for word in words[1:]:
            key, _, number = word.partition("=")
            count = number if key == "slots" else count
        found.append(ListedHost(name, natural(count)))
    return tuple(found)
