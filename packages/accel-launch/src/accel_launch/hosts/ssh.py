"""The system's ssh: its command line, and what it means when it ends before a launcher has answered."""

from __future__ import annotations

import shlex

from accel_config.showing.printable import one_line
from accel_launch.hosts.carrying.wire import SILENCE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_launch.hosts.listing import Machine

MODULE = "accel_launch.hosts.machine"
BOOT = (
    f"import json,signal,sys;signal.alarm({SILENCE:.0f});hello=json.loads(sys.stdin.readline());signal.alarm(0);"
    """list(map(exec,hello["boot"]))"""
)
"""A machine without the launcher gets it as the first line; see `accel_launch.hosts.carrying.wire.boot`."""
OPTIONS = (
    *("-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10"),
    *("-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=2", "-o", "RemoteCommand=none"),
)
"""No terminal, question or other command ever; who doesn't answer is given up. All else is the user's own config."""
NOT_FOUND = 127  # of a shell
WIDEST = 200  # characters of what ssh has printed


def launcher(python: str, *, carried: bool = False) -> tuple[str, ...]:
    """Return the words that start the launcher of a machine: the same on each, and without anything secret."""
    return (python, "-P", *(("-c", BOOT) if carried else ("-m", MODULE)))


def command(machine: Machine, python: str, *, carried: bool = False) -> tuple[str, ...]:
    """Return the words that start it there; ``carried``: it isn't installed there."""
    path = f"~/{shlex.quote(python[2:])}" if python.startswith("~/") else shlex.quote(python)
    return (*_ssh(machine, *OPTIONS), f"exec {path} {shlex.join(launcher(python, carried=carried)[1:])}")


def _ssh(machine: Machine, *options: str) -> tuple[str, ...]:
    port = () if machine.port is None else ("-p", str(machine.port))
    return ("ssh", *options, *port, "--", machine.destination)


def typed(machine: Machine, *words: str) -> str:
    """Return a command line for the user to type."""
    return shlex.join([*(word for word in _ssh(machine) if word != "--"), *words])


def complaint(machine: Machine, python: str, status: int, printed: str, *, here: bool) -> str:
    """Return why no launcher has answered, and what to do: from ssh's exit status and what was printed."""
    lines = [line for line in printed.splitlines() if line.strip()]
    last = one_line(lines[-1].strip()[:WIDEST]) if lines else ""
    name = machine.label
    if "No module named" in printed:
        older = any(f"No module named {quote}accel_launch.hosts" in printed for quote in ("'", ""))
        what = "an older accel-launch" if older else "no accel-launch"
        return f"{name} has {what} for {python}; {install(machine, python, here=here)}"
    if status == NOT_FOUND or (python in last and ("No such file" in last or "not found" in last)):
        return f"{name} has no {python}; give --python an interpreter that it has"
    for words, why in REASONS:
        if any(word in printed for word in words):
            port = "" if machine.port is None else f"-p {machine.port} "
            return f"{name}: {why}".format(
                ssh=typed(machine), host=machine.name, last=last, port=port, to=machine.destination
            )
    return f"{name}: ssh ended with status {status}{f': {last}' if last else ''}"


def install(machine: Machine, python: str, *, here: bool) -> str:
    """Return how to have this version there."""
    from accel_config.showing.installing import version

    own = version("accel-launch", "")
    words = (python, "-m", "pip", "install", f"accel-launch=={own}" if own else "accel-launch")
    line = shlex.join(words) if here else typed(machine, *words)
    return f"{'' if here else 'carry it there with --sync_launcher, or '}install this version: {line}"


REASONS: tuple[tuple[tuple[str, ...], str], ...] = (
    (("Unknown option: -P",), "its Python is older than 3.11; name a newer one with --python"),
    (
        ("IDENTIFICATION HAS CHANGED",),
        "its host key has changed, maybe by an attack; if you know why, `ssh-keygen -R {host}`, then `{ssh}` once",
    ),
    (
        ("Host key verification failed", "host key is known for"),
        "its host key isn't known here; accept it with `{ssh}`, or put `ssh-keyscan {port}{host}` into known_hosts",
    ),
    (
        ("Permission denied", "Too many authentication failures"),
        "a password would be needed ({last}); load your key with `ssh-add`, or install it: `ssh-copy-id {port}{to}`",
    ),
    (
        ("Could not resolve hostname",),
        "its name doesn't resolve ({last}); correct it, name it in ssh's config, or correct the hosts' file's path",
    ),
    (
        (
            *("Connection refused", "timed out", "No route to host", "Network is unreachable", "Connection reset"),
            *("Connection closed by", "Timeout, server"),
        ),
        "it can't be reached ({last}); check that it runs, and try `{ssh}`",
    ),
)
"""What ssh prints, and what to say about it."""
