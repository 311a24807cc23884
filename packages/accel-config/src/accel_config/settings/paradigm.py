"""The training mode: one rule for the switches, ``--cpu`` and ``distributed_type``."""

from __future__ import annotations

from accel_config.errors import SettingError
from accel_config.record import Record
from accel_config.settings.origin import FILE, Origin

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_config.settings.values import Values

# Each switch with its type; the first one that is set wins.
SWITCHES = (
    ("use_deepspeed", "DEEPSPEED"),
    ("use_fsdp", "FSDP"),
    ("use_megatron_lm", "MEGATRON_LM"),
    ("tpu_cluster", "XLA"),
    ("tpu", "XLA"),
    ("multi_gpu", "MULTI_GPU"),
)
SHARDED = frozenset(("FSDP", "DEEPSPEED", "MEGATRON_LM"))


class Paradigm(Record):
    """The training mode and its origin."""

    kind: str
    """A ``distributed_type``; empty where none is set: the machine and the number of processes decide."""
    origin: Origin
    cpu: bool
    """Whether the ranks must not use accelerators."""
    note: str = ""

    @property
    def sharded(self) -> bool:
        """Whether FSDP, DeepSpeed or Megatron-LM distributes the model."""
        return self.kind in SHARDED


def paradigm(settings: Values) -> Paradigm:
    """Return the training mode that these settings ask for.

    Raises:
        SettingError: two switches of the same layer ask for different things.
    """
    if "paradigm" not in settings.derived:
        settings.derived["paradigm"] = _decide(settings)
    return settings.derived["paradigm"]


def _decide(settings: Values) -> Paradigm:
    """Decide between the switches and the file.

    Raises:
        SettingError: two switches of the same layer ask for different things.
    """
    named = settings.value("distributed_type")
    cpu = settings.value("cpu")
    asked = [(kind, settings.value(name).origin) for name, kind in SWITCHES if settings.value(name).value]
    if named.value:
        asked.append((str(named.value), named.origin))
    if not asked:
        return Paradigm("", Origin("built in"), bool(cpu.value))
    strongest = min(origin.layer for _kind, origin in asked)
    asked = [(kind, origin) for kind, origin in asked if origin.layer == strongest]
    kind, origin = asked[0]
    _refuse_two(asked, cpu.value is True and cpu.origin.layer == strongest and strongest < FILE, cpu.origin)
    if cpu.value and cpu.origin.layer < strongest and kind not in ("NO", "MULTI_CPU"):
        note = f"{cpu.origin} is set, so {kind} ({origin}) is ignored"
        return Paradigm("", cpu.origin, cpu=True, note=note)
    return Paradigm(kind, origin, bool(cpu.value) or kind == "MULTI_CPU")


def _refuse_two(asked: list[tuple[str, Origin]], cpu: bool, cpu_origin: Origin) -> None:
    kind, origin = asked[0]
    for other, where in asked[1:]:
        # Megatron-LM needs several GPUs anyway, so scripts name both.
        if other != kind and not (other == "MULTI_GPU" and kind == "MEGATRON_LM"):
            raise SettingError(f"{origin} asks for {kind} and {where} for {other}; set one of them")
    if cpu and (kind == "XLA" or kind.startswith("MULTI_")) and kind != "MULTI_CPU":
        raise SettingError(f"{cpu_origin} asks for the CPU and {origin} for {kind}; set one of them")


def alone(settings: Values) -> bool:
    """Return whether distributed_type NO leaves each machine one process: no stronger source sets a number."""
    mode = paradigm(settings)
    if mode.kind != "NO":
        return False
    counts = [settings.value(name) for name in ("num_processes", "nproc_per_node")]
    return not any(count.value is not None and count.origin.layer < mode.origin.layer for count in counts)


def sagemaker(settings: Values) -> bool:
    """Return whether the settings describe a SageMaker job, not a run on this machine."""
    return settings.value("compute_environment").value == "AMAZON_SAGEMAKER"
