"""What can't work is refused before anything starts, naming both sides with their origins."""

from __future__ import annotations

import os

from accel_config.catalogue import DeepSpeed, Fsdp, Launcher, Parallel, Resources
from accel_config.errors import AccelError
from accel_config.origin import FILE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from accel_config.settings import Settings

    from .host import Host


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


def _both(settings: Settings, *names: str) -> str:
    """Name settings with their values and origins."""
    return " and ".join(f"{name} {_text(settings, name)} ({settings.origin(name)})" for name in names)


def _text(settings: Settings, name: str) -> str:
    return _spoken(settings.value(name).value)


def _module_without_python(settings: Settings) -> str:
    if settings[Launcher].module and settings[Launcher].no_python:
        return f"{_both(settings, 'module', 'no_python')}: a module needs Python; give one of them"
    return ""


def _one_process_on_many(settings: Settings) -> str:
    asked = settings.value("num_processes")
    if settings.value("multi_gpu").given and asked.value == 1 and asked.origin.layer == 0:
        return f"{_both(settings, 'multi_gpu', 'num_processes')}: several devices need at least 2 processes"
    return ""


def _one_id_on_many(settings: Settings) -> str:
    ids = settings[Resources].gpu_ids or ""
    several = settings.paradigm.kind.startswith("MULTI_") and settings.paradigm.kind != "MULTI_CPU"
    one = len([entry for entry in ids.split(",") if entry.strip()]) == 1 and "-" not in ids
    if several and one and settings[Resources].num_machines == 1:
        kind = settings.paradigm
        return f"{_both(settings, 'gpu_ids')} is one device, but {kind.kind} ({kind.origin}) needs several"
    return ""


def _unsynced_loading(settings: Settings) -> str:
    fsdp = settings[Fsdp]
    in_force = settings.paradigm.kind == "FSDP" and fsdp.fsdp_version == 1
    if in_force and fsdp.fsdp_cpu_ram_efficient_loading and not fsdp.fsdp_sync_module_states:
        both = _both(settings, "fsdp_cpu_ram_efficient_loading", "fsdp_sync_module_states")
        return f"{both}: ranks that load no weights must get them from rank 0; set the second, or unset the first"
    return ""


def _parallelism_needs_fsdp2(settings: Settings) -> str:
    if Parallel.active is None or not Parallel.active(settings):
        return ""
    kind = settings.paradigm
    if kind.kind == "DEEPSPEED" or (kind.kind == "FSDP" and settings[Fsdp].fsdp_version == 2):  # noqa: PLR2004
        return ""
    on = next((one.name for one in Parallel.settings if settings.given(one.name)), "use_parallelism_config")
    way_out = "FSDP version 2 (--use_fsdp --fsdp_version 2) or DeepSpeed"
    return f"{_both(settings, on)}: the parallelism config needs {way_out}"


def _context_and_sequence(settings: Settings) -> str:
    sizes = settings[Parallel]
    if sizes.parallelism_config_cp_size > 1 and sizes.parallelism_config_sp_size > 1:
        both = _both(settings, "parallelism_config_cp_size", "parallelism_config_sp_size")
        return f"{both}: a sequence is divided by one of them; make the other 1"
    return ""


def _world(settings: Settings) -> str:
    """The sizes multiply to the world, where both are said."""
    total = settings[Resources].num_processes
    if Parallel.active is None or not Parallel.active(settings) or total is None:
        return ""
    names = [f"parallelism_config_{size}_size" for size in ("dp_replicate", "dp_shard", "tp", "cp", "sp")]
    product = 1
    for name in names:
        product *= int(str(settings.value(name).value))
    given = [name for name in names if settings.given(name)]
    # A data-parallel size that nobody set takes what is left over.
    if product == total or ("parallelism_config_dp_shard_size" not in given and total % product == 0):
        return ""
    return f"{_both(settings, *given)} multiply to {product}, but {_both(settings, 'num_processes')}: they must agree"


def _checkpoint_offload(settings: Settings) -> str:
    fsdp = settings[Fsdp]
    if settings.paradigm.kind != "FSDP" or not fsdp.fsdp_activation_checkpointing_offload:
        return ""
    if fsdp.fsdp_version == 1:
        both = _both(settings, "fsdp_activation_checkpointing_offload", "fsdp_version")
        return f"{both}: only version 2 offloads them"
    if not fsdp.fsdp_activation_checkpointing:
        both = _both(settings, "fsdp_activation_checkpointing_offload", "fsdp_activation_checkpointing")
        return f"{both}: set the second as well"
    return ""


def _local_state_dict(settings: Settings) -> str:
    fsdp = settings[Fsdp]
    local = fsdp.fsdp_state_dict_type == "LOCAL_STATE_DICT"
    if settings.paradigm.kind == "FSDP" and fsdp.fsdp_version == 2 and local:  # noqa: PLR2004
        return (
            f"{_both(settings, 'fsdp_version', 'fsdp_state_dict_type')}: take SHARDED_STATE_DICT or FULL_STATE_DICT"
        )
    return ""


# Where DeepSpeed's own json says what these settings say.
IN_JSON = {
    "zero_stage": "zero_optimization.stage",
    "gradient_accumulation_steps": "gradient_accumulation_steps",
    "gradient_clipping": "gradient_clipping",
    "offload_optimizer_device": "zero_optimization.offload_optimizer.device",
    "offload_optimizer_nvme_path": "zero_optimization.offload_optimizer.nvme_path",
    "offload_param_device": "zero_optimization.offload_param.device",
    "offload_param_nvme_path": "zero_optimization.offload_param.nvme_path",
    "zero3_save_16bit_model": "zero_optimization.stage3_gather_16bit_weights_on_model_save",
    "mixed_precision": "fp16.enabled and bf16.enabled",
}


def _beside_json(settings: Settings) -> str:
    """The library refuses these fields of a config file beside a json, whatever the json says."""
    if settings.paradigm.kind != "DEEPSPEED" or not settings[DeepSpeed].deepspeed_config_file:
        return ""
    names = [name for name in IN_JSON if settings.value(name).origin.layer == FILE]
    if not names:
        return ""
    return (
        f"{_both(settings, 'deepspeed_config_file')} decides {_both(settings, *names)}: the library refuses a config "
        "file that gives them beside a json; write them into the json, and leave them out here"
    )


RULES: tuple[Callable[[Settings], str], ...] = (
    _module_without_python,
    _one_process_on_many,
    _one_id_on_many,
    _unsynced_loading,
    _parallelism_needs_fsdp2,
    _context_and_sequence,
    _world,
    _checkpoint_offload,
    _local_state_dict,
    _beside_json,
)


def _zero3_only(settings: Settings) -> str:
    deepspeed = settings[DeepSpeed]
    stage = 2 if deepspeed.zero_stage is None else deepspeed.zero_stage
    if settings.paradigm.kind != "DEEPSPEED" or stage == 3 or deepspeed.deepspeed_config_file:  # noqa: PLR2004
        return ""
    names = [name for name in ("zero3_init_flag", "zero3_save_16bit_model") if settings.value(name).value]
    if deepspeed.offload_param_device not in (None, "none"):
        names.append("offload_param_device")
    return f"{_both(settings, *names)}: no effect below ZeRO stage 3 (zero_stage is {stage})" if names else ""


HINTS: tuple[Callable[[Settings], str], ...] = (_zero3_only, lambda settings: settings.paradigm.note)


def combinations(settings: Settings, findings: Findings) -> None:
    """Refuse settings that can't work together.

    Raises:
        AccelError: naming each of them with its origin, and the way out.
    """
    wrong = [message for rule in RULES if (message := rule(settings))]
    if wrong:
        raise AccelError("\n".join(wrong))
    findings.notes += [message for hint in HINTS if (message := hint(settings))]


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
        own = _precision(held) if name == "mixed_precision" else _within(held, key)
        said = f"{_both(settings, name)}, but {_both(settings, 'deepspeed_config_file')}"
        if own is None:
            findings.notes.append(f"{said} holds no {key}, and the library goes by it")
        elif own not in ("auto", value.value):
            findings.here(f"{said} has {key} {_spoken(own)}: let them agree, or leave out {name}")


def _json(settings: Settings, path: str, findings: Findings) -> dict[str, object] | None:
    import json

    said = _both(settings, "deepspeed_config_file")
    try:
        with open(path, encoding="utf-8") as file:
            held: object = json.load(file)
    except OSError as error:
        findings.here(f"{said} can't be read: {error.strerror}")
    except ValueError as error:
        findings.here(f"{said} is no JSON: {error}")
    else:
        if isinstance(held, dict):
            return held  # pyright: ignore[reportUnknownVariableType]
        findings.here(f"{said} is no DeepSpeed configuration: it holds no mapping")
    return None


def _within(held: object, key: str) -> object:
    """Return what a nested mapping holds at a path with dots, None where there is nothing."""
    for part in key.split("."):
        held = held.get(part) if isinstance(held, dict) else None  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
    return held  # pyright: ignore[reportUnknownVariableType]


def _precision(held: dict[str, object]) -> str:
    """Return the mixed precision that a json switches on."""
    switches = {kind: _within(held, f"{kind}.enabled") for kind in ("fp16", "bf16")}
    on = [kind for kind, switch in switches.items() if switch is True]
    if on:
        return on[0]
    return "auto" if "auto" in switches.values() else "no"


def _spoken(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def script(settings: Settings, host: Host, words: Sequence[str], findings: Findings) -> None:
    """Refuse a script that can't be started: missing, not readable, a folder without ``__main__.py``.

    Raises:
        AccelError: naming it and the way out.
    """
    if not words:
        raise AccelError("there is no script to launch: accelerate launch [flags] SCRIPT [arguments of the script]")
    launcher = settings[Launcher]
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
