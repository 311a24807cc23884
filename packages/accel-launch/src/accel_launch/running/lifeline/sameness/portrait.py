"""What a launcher reports of its machine: short facts, each with a name."""

from __future__ import annotations

import hashlib
import os

from accel_config.showing.masking import command_line
from accel_launch.running.lifeline.messages import FACT, MOST_FACTS, clean
from accel_launch.running.lifeline.sameness import code, libraries, variables

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from accel_launch.running.lifeline.sameness.subject import Subject

CUT = "cut"
"""The fact that others are left out, because they don't go into one message."""
ROOM = 12000  # bytes of facts


def portrait(subject: Subject, key: bytes | None) -> dict[str, str]:
    """Describe this machine; ``key`` is the run's secret. The order is that of importance."""
    facts: dict[str, str] = {}
    room = ROOM
    for name, value in _facts(subject, key):
        name, value = clean(name, FACT), clean(_fitting(value))  # noqa: PLW2901
        room -= len(name.encode(errors="replace")) + len(value.encode(errors="replace")) + 8
        if room < 0 or len(facts) >= MOST_FACTS - 2:
            facts[CUT] = "yes"
            break
        facts[name] = value
    return facts


def _facts(subject: Subject, key: bytes | None) -> Iterator[tuple[str, str]]:
    among = libraries.folders(subject.python)
    build, found = libraries.torch_build(among), libraries.versions(among)
    yield "python", libraries.python_version(subject.python)
    torch, built = found.pop("torch", ""), build.get("__version__", "")
    yield "torch", built if built.startswith(torch) else torch  # a build's own file names its variant too
    yield "cuda", build.get("cuda", "") or build.get("hip", "")
    yield "driver", subject.driver
    yield "launcher", found.pop("accel_launch", "")
    yield "on", subject.where
    yield "devices", _counted(subject.devices)
    own, modules, complete = code.digests(subject)
    yield "script", own
    yield "arguments", " ".join(command_line(subject.words[1:]))
    yield from _limits()
    yield from ((f"setting {name}", value) for name, value in sorted(subject.settings.items()))
    yield from ((f"library {name}", version) for name, version in sorted(found.items()))
    yield from ((f"variable {name}", value) for name, value in variables.portrayed(os.environ, key).items())
    yield from ((f"module {name}", digest) for name, digest in sorted(modules.items()))
    if not complete:
        yield CUT, "yes"


def _counted(devices: tuple[str, ...]) -> str:
    return ", ".join(f"{devices.count(one)} {one}" for one in sorted(set(devices)))


def _fitting(text: str) -> str:
    """Return a text, or its beginning and its digest if it is too long."""
    if len(text) <= FACT:
        return text
    return f"{text[: FACT - 20]}... {hashlib.sha256(text.encode(errors='replace')).hexdigest()[:12]}"


def _limits() -> Iterator[tuple[str, str]]:
    import resource

    for name, number in (("open files", resource.RLIMIT_NOFILE), ("locked memory", resource.RLIMIT_MEMLOCK)):
        soft = resource.getrlimit(number)[0]
        yield f"limit {name}", "unlimited" if soft == resource.RLIM_INFINITY else str(soft)
    try:
        state = os.statvfs("/dev/shm")  # noqa: S108  its size, no file in it
    except OSError:
        return
    yield "limit shared memory", str(state.f_blocks * state.f_frsize)
