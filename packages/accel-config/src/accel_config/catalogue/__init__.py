"""Every setting, in the order in which help and reference show them.

To add a setting, declare it in its section's file here. Nothing else needs to know.
"""

from ..settings import Catalogue
from .compile import Dynamo
from .deepspeed import DeepSpeed
from .fsdp import Fsdp
from .hardware import Hardware, Paradigms, Resources
from .launcher import Launcher
from .megatron import Megatron
from .output import Output
from .parallel import Parallel
from .precision import Fp8, Precision
from .rendezvous import Mpi, Rendezvous
from .sagemaker import SageMaker
from .scheduler import Scheduler
from .tpu import Tpu

CATALOGUE = Catalogue(
    (
        Launcher,
        Hardware,
        Resources,
        Precision,
        Paradigms,
        Rendezvous,
        Scheduler,
        Output,
        Dynamo,
        Fsdp,
        DeepSpeed,
        Megatron,
        Parallel,
        Fp8,
        Mpi,
        Tpu,
        SageMaker,
    )
)

INTERVIEW = (
    Hardware,
    Resources,
    SageMaker,
    Rendezvous,
    Mpi,
    Paradigms,
    Fsdp,
    Parallel,
    DeepSpeed,
    Megatron,
    Precision,
    Fp8,
    Tpu,
    Dynamo,
    Launcher,
)
"""In the order in which `accelerate config` asks: each section may look at the answers of those before it."""

__all__ = [
    "CATALOGUE",
    "INTERVIEW",
    "DeepSpeed",
    "Dynamo",
    "Fp8",
    "Fsdp",
    "Hardware",
    "Launcher",
    "Megatron",
    "Mpi",
    "Output",
    "Paradigms",
    "Parallel",
    "Precision",
    "Rendezvous",
    "Resources",
    "SageMaker",
    "Scheduler",
    "Tpu",
]
