"""Every setting, in the order in which help and reference show them.

To add a setting, declare it in its section's file; everything else is derived from the declaration.
"""

from accel_config.catalogue.compile import Dynamo
from accel_config.catalogue.deepspeed import DeepSpeed
from accel_config.catalogue.fsdp import Fsdp
from accel_config.catalogue.hardware import Hardware, Paradigms, Resources
from accel_config.catalogue.launcher import Launcher
from accel_config.catalogue.megatron import Megatron
from accel_config.catalogue.output import Output
from accel_config.catalogue.parallel import Parallel
from accel_config.catalogue.precision import Fp8, Precision
from accel_config.catalogue.rendezvous import Mpi, Rendezvous
from accel_config.catalogue.sagemaker import SageMaker
from accel_config.catalogue.scheduler import Scheduler
from accel_config.catalogue.tpu import Tpu
from accel_config.settings.index import Catalogue

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
"""Every setting of accelerate, by section."""

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
"""The order in which `accelerate config` asks: a section can use the answers of the sections before it."""

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
