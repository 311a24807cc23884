"""DeepSpeed's own configuration file, held against the settings that it decides."""

from __future__ import annotations

import os

from accel_config.catalogue import DeepSpeed
from accel_config.errors import AccelError
from accel_config.origin import FILE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_config.settings import Settings

    from .checks import Findings
    from .host import Host

# A setting, and where DeepSpeed's file says the same.
PLACES = {
    "gradient_accumulation_steps": "gradient_accumulation_steps",
    "gradient_clipping": "gradient_clipping",
    "zero_stage": "zero_optimization.stage",
    "offload_optimizer_device": "zero_optimization.offload_optimizer.device",
    "offload_optimizer_nvme_path": "zero_optimization.offload_optimizer.nvme_path",
    "offload_param_device": "zero_optimization.offload_param.device",
    "offload_param_nvme_path": "zero_optimization.offload_param.nvme_path",
    "zero3_save_16bit_model": "zero_optimization.stage3_gather_16bit_weights_on_model_save",
}


def check(settings: Settings, host: Host, findings: Findings) -> None:
    """Refuse a DeepSpeed file that is missing or says something else than the settings.

    Raises:
        AccelError: naming both sides.
    """
    name = settings[DeepSpeed].deepspeed_config_file
    if name is None:
        return
    _beside(settings)
    content = _read(settings, host, name, findings)
    if content is not None:
        wrong = [*_contradictions(settings, content, name), *_precision(settings, content, name)]
        for message in wrong:
            findings.here(message)


def _beside(settings: Settings) -> None:
    """Refuse what the library refuses of any accelerate config, once every rank has come up."""
    names = [name for name in (*PLACES, "mixed_precision") if settings.value(name).origin.layer == FILE]
    if names:
        told = " and ".join(f"{name} ({settings.origin(name)})" for name in names)
        raise AccelError(
            f"{told}: with deepspeed_config_file ({settings.origin('deepspeed_config_file')}) the library takes that "
            "from DeepSpeed's file alone: say it there, and leave it out of the config file"
        )


def _read(settings: Settings, host: Host, name: str, findings: Findings) -> dict[str, object] | None:
    import json

    told = f"deepspeed_config_file {name} ({settings.origin('deepspeed_config_file')})"
    try:
        with open(os.path.join(host.cwd, os.path.expanduser(name)), encoding="utf-8") as file:
            content: object = json.load(file)
    except OSError as error:
        return findings.here(f"{told} can't be read: {error.strerror}")
    except ValueError as error:
        return findings.here(f"{told} is no JSON: {error}")
    if not isinstance(content, dict):
        return findings.here(f"{told} must be a JSON object")
    return {str(key): value for key, value in content.items()}  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]


def _at(content: dict[str, object], place: str) -> object:
    found: object = content
    for key in place.split("."):
        found = found.get(key) if isinstance(found, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return found  # pyright: ignore[reportUnknownVariableType]


def _contradictions(settings: Settings, content: dict[str, object], name: str) -> list[str]:
    wrong: list[str] = []
    for setting, place in PLACES.items():
        said, given = _at(content, place), settings.value(setting)
        if given.value is not None and said not in (None, "auto", given.value):
            wrong.append(
                f"{setting} {given.value} ({given.origin}), but {place} is {said} in {name}: DeepSpeed's file would "
                "win; make them agree, or say it once"
            )
    return wrong


def _precision(settings: Settings, content: dict[str, object], name: str) -> list[str]:
    asked = settings.value("mixed_precision")
    other = {"fp16": "bf16", "bf16": "fp16", "fp8": "fp16"}.get(str(asked.value), "")
    if other and str(_at(content, f"{other}.enabled")).lower() == "true":
        return [f"mixed_precision {asked.value} ({asked.origin}), but {other}.enabled is true in {name}: take one"]
    return []
