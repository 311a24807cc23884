"""Which way of distributing the settings ask for: one rule for the switches, ``--cpu`` and ``distributed_type``."""

from __future__ import annotations

from .catalogue.hardware import Hardware
from .errors import SettingError
from .origin import FILE, Origin
from .record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .settings import Settings

# A switch and the type it stands for, in the order in which the first that is set wins.
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
    """The way of distributing, and who asked for it."""

    kind: str
    """A ``distributed_type``; empty where nobody said, and the machine and the number of processes decide."""
    origin: Origin
    cpu: bool
    """Whether the ranks are asked to stay off accelerators."""
    note: str = ""

    @property
    def sharded(self) -> bool:
        """Whether a library above plain data parallelism (FSDP, DeepSpeed, Megatron-LM) does the distributing."""
        return self.kind in SHARDED


def paradigm(settings: Settings) -> Paradigm:
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
        said = f"{cpu.origin} was given, so {kind} ({origin}) is left out"
        return Paradigm("", cpu.origin, cpu=True, note=said)
    return Paradigm(kind, origin, bool(cpu.value) or kind == "MULTI_CPU")


def _refuse_two(asked: list[tuple[str, Origin]], cpu: bool, cpu_origin: Origin) -> None:
    kind, origin = asked[0]
    for other, where in asked[1:]:
        # Megatron-LM needs several GPUs anyway, so scripts name both.
        if other != kind and not (other == "MULTI_GPU" and kind == "MEGATRON_LM"):
            raise SettingError(f"{origin} asks for {kind} and {where} for {other}: give one of them")
    if cpu and (kind == "XLA" or kind.startswith("MULTI_")) and kind != "MULTI_CPU":
        raise SettingError(f"{cpu_origin} asks for the CPU and {origin} for {kind}: give one of them")


def sagemaker(settings: Settings) -> bool:
    """Whether the settings describe a SageMaker job rather than this machine."""
    return settings[Hardware].compute_environment == "AMAZON_SAGEMAKER"
