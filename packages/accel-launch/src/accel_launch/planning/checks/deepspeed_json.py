"""DeepSpeed's own json: it must be valid, and agree with the flags and variables that set the same."""

from __future__ import annotations

import json
import os

from accel_config.checking.sharding import IN_JSON
from accel_config.settings.origin import FILE
from accel_config.showing.wording import describe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_config.settings.resolved import Settings
    from accel_launch.machine.host import Host
    from accel_launch.planning.findings import Findings


def check(settings: Settings, host: Host, path: str, findings: Findings) -> None:
    """Check the json at ``path`` against the settings.

    The library goes by the json without a warning, except for what the json calls ``auto``.

    Raises:
        AccelError: the json is missing or isn't valid, or it differs from a flag or a variable.
    """
    content = _read(settings, os.path.join(host.cwd, os.path.expanduser(path)), findings)
    if content is None:
        return
    for name, key in IN_JSON.items():
        value = settings.value(name)
        if value.value is None or value.origin.layer >= FILE:
            continue
        own = precision(content) if name == "mixed_precision" else within(content, key)
        both = f"{describe(settings, name)}, but {describe(settings, 'deepspeed_config_file')}"
        if own is None:
            findings.notes.append(f"{both} doesn't set {key}, and the library goes by it")
        elif own not in ("auto", value.value):
            findings.refuse_locally(f"{both} has {key} {_text(own)}: make them agree, or leave out {name}")


def _read(settings: Settings, path: str, findings: Findings) -> dict[str, object] | None:
    named = describe(settings, "deepspeed_config_file")
    try:
        with open(path, encoding="utf-8") as file:
            content: object = json.load(file)
    except OSError as error:
        findings.refuse_locally(f"{named} can't be read: {error.strerror}")
    except (ValueError, RecursionError) as error:
        findings.refuse_locally(f"{named} isn't valid JSON: {error}")
    else:
        if isinstance(content, dict):
            return content  # pyright: ignore[reportUnknownVariableType]
        findings.refuse_locally(f"{named} isn't a DeepSpeed configuration: it doesn't hold a mapping")
    return None


def within(content: object, key: str) -> object:
    """Return what a nested mapping holds at a path with dots, or None."""
    for part in key.split("."):
        content = content.get(part) if isinstance(content, dict) else None  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
    return content  # pyright: ignore[reportUnknownVariableType]


def precision(content: dict[str, object]) -> str:
    """Return the mixed precision that a json switches on: ``fp16``, ``bf16``, ``auto`` or ``no``."""
    switches = {kind: within(content, f"{kind}.enabled") for kind in ("fp16", "bf16")}
    on = [kind for kind, switch in switches.items() if switch is True]
    if on:
        return on[0]
    return "auto" if "auto" in switches.values() else "no"


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
