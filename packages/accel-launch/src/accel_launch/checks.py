"""What can't work is refused before anything starts, naming both sides with their origins."""

from __future__ import annotations

import os

from accel_config import rules
from accel_config.catalogue import DeepSpeed, Launcher, Precision
from accel_config.catalogue.parallel import in_force
from accel_config.errors import AccelError
from accel_config.origin import FILE
from accel_config.paradigm import SHARDED, sagemaker
from accel_config.rules import IN_JSON
from accel_config.wording import said

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from accel_config.settings import Settings

    from .host import Host
    from .layout import Layout


class Findings:
    """What planning finds: refusals are raised, but those that depend on this machine are notes in a dry run."""

    def __init__(self, *, lenient: bool) -> None:
        """Start empty; ``lenient`` in a dry run."""
        self.lenient = lenient
        self.notes: list[str] = []

    def here(self, message: str) -> None:
        """Refuse because of this machine."""
        if not self.lenient:
            raise AccelError(message)
        self.notes.append(message)


def combinations(settings: Settings, findings: Findings) -> None:
    """Refuse settings that can't work together.

    Raises:
        AccelError: naming each of them with its origin, and the way out.
    """
    wrong = rules.broken(settings)
    if wrong:
        raise AccelError("\n".join(wrong))
    findings.notes += rules.hints(settings)


def arrangement(settings: Settings, host: Host, laid: Layout, findings: Findings) -> None:
    """Refuse a run that lacks a library, or whose ranks don't fit the sizes that they are to be laid out in.

    A SageMaker job has libraries and devices that aren't known here.

    Raises:
        AccelError: naming what is wrong with its origin, and the way out.
    """
    if sagemaker(settings):
        return
    if laid.kind in SHARDED or settings[Precision].mixed_precision == "fp8":
        from . import libraries

        libraries.check(settings, host, laid, findings)
    if laid.kind == "MEGATRON_LM" or in_force(settings):
        _sizes(settings, laid, findings)


def _sizes(settings: Settings, laid: Layout, findings: Findings) -> None:
    """Hold the sizes against the ranks that this machine gives, where nobody named their number."""
    from accel_config.parallelism import SHARD, shard_size, world

    if not settings.given("num_processes") and (wrong := world(settings, laid.total)):
        findings.here(wrong)
    elif in_force(settings) and (shard := shard_size(settings, laid.total)) != settings.value(SHARD).value:
        findings.notes.append(f"{SHARD} isn't set: {shard}, the ranks that the other sizes leave over")


def deepspeed_json(settings: Settings, host: Host, findings: Findings) -> None:
    """Refuse a DeepSpeed json that is missing, is none, or says other than a flag or a variable does.

    The library goes by the json and says nothing, but for what the json calls ``auto``.

    Raises:
        AccelError: naming both sides with their origins.
    """
    path = settings[DeepSpeed].deepspeed_config_file
    if settings.paradigm.kind != "DEEPSPEED" or not path:
        return
    held = _json(settings, os.path.join(host.cwd, os.path.expanduser(path)), findings)
    if held is None:
        return
    for name, key in IN_JSON.items():
        value = settings.value(name)
        if value.value is None or value.origin.layer >= FILE:
            continue
        own = json_precision(held) if name == "mixed_precision" else within(held, key)
        both = f"{said(settings, name)}, but {said(settings, 'deepspeed_config_file')}"
        if own is None:
            findings.notes.append(f"{both} holds no {key}, and the library goes by it")
        elif own not in ("auto", value.value):
            findings.here(f"{both} has {key} {_spoken(own)}: let them agree, or leave out {name}")


def _json(settings: Settings, path: str, findings: Findings) -> dict[str, object] | None:
    import json

    named = said(settings, "deepspeed_config_file")
    try:
        with open(path, encoding="utf-8") as file:
            held: object = json.load(file)
    except OSError as error:
        findings.here(f"{named} can't be read: {error.strerror}")
    except ValueError as error:
        findings.here(f"{named} is no JSON: {error}")
    else:
        if isinstance(held, dict):
            return held  # pyright: ignore[reportUnknownVariableType]
        findings.here(f"{named} is no DeepSpeed configuration: it holds no mapping")
    return None


def within(held: object, key: str) -> object:
    """Return what a nested mapping holds at a path with dots, None where there is nothing."""
    for part in key.split("."):
        held = held.get(part) if isinstance(held, dict) else None  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
    return held  # pyright: ignore[reportUnknownVariableType]


def json_precision(held: dict[str, object]) -> str:
    """Return the mixed precision that a json switches on."""
    switches = {kind: within(held, f"{kind}.enabled") for kind in ("fp16", "bf16")}
    on = [kind for kind, switch in switches.items() if switch is True]
    if on:
        return on[0]
    return "auto" if "auto" in switches.values() else "no"


def _spoken(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def script(settings: Settings, host: Host, words: Sequence[str], findings: Findings, *, here: bool = True) -> None:
    """Refuse a script that can't be started: missing, not readable, a folder without ``__main__.py``.

    One that isn't ``here`` but on other machines is theirs to look for.

    Raises:
        AccelError: naming it and the way out.
    """
    if not words:
        raise AccelError("there is no script to launch: accelerate launch [flags] SCRIPT [arguments of the script]")
    launcher = settings[Launcher]
    if not here:
        return
    if not host.cwd:
        findings.here("the working folder doesn't exist any more: change to one that does")
    elif launcher.module:
        _module(words[0], host, findings, ours=launcher.python is None)
    elif launcher.no_python:
        _program(words[0], host, findings)
    else:
        _file(os.path.join(host.cwd, words[0]), words[0], findings)


def _module(name: str, host: Host, findings: Findings, *, ours: bool) -> None:
    top = name.partition(".")[0]
    local = any(os.path.exists(os.path.join(host.cwd, top + end)) for end in ("", ".py"))
    if ours and not local and not host.ask.module(top):
        findings.here(f"there is no module {top!r} on the path of {host.python}")


def _program(name: str, host: Host, findings: Findings) -> None:
    path = os.path.join(host.cwd, name) if "/" in name else host.ask.program(name)
    if path is None or not os.path.exists(path):
        findings.here(f"there is no program {name!r}: --no_python runs it as it is")
    elif os.path.isdir(path) or not os.access(path, os.X_OK):
        findings.here(f"{name} can't be executed: make it executable, or leave out --no_python if it is Python")


def _file(path: str, name: str, findings: Findings) -> None:
    if not os.path.exists(path):
        findings.here(f"the script {name} doesn't exist{_meant(path)}")
    elif os.path.isdir(path):
        if not os.path.exists(os.path.join(path, "__main__.py")):
            findings.here(f"the script {name} is a folder without a __main__.py")
    else:
        try:
            with open(path, "rb"):
                pass
        except OSError as error:
            findings.here(f"the script {name} can't be read: {error.strerror}")


def _meant(path: str) -> str:
    from accel_config.errors import nearest

    try:
        return nearest(os.path.basename(path), os.listdir(os.path.dirname(path) or "."))
    except OSError:
        return ""
