"""Engine ``sagemaker``: a training job of Amazon SageMaker. Its plan is a request, and starts no commands here."""

from __future__ import annotations

from accel_config.catalogue import Output, Precision, Rendezvous, SageMaker
from accel_launch import Request
from accel_launch.engines import Engine, Plan
from accel_sagemaker.building import assembly
from accel_sagemaker.building.request import JobRequest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_launch import Result
    from accel_launch.engines import LaunchContext

# Settings of ranks that this machine starts.
LOCAL = (
    *("wrap", "rank_env", "gpu_ids", "nice", "num_cpu_threads_per_process", "grace"),
    *(one.name for one in Output.settings if one.name != "report"),
)


class Launch(JobRequest, Request):
    """A request that `accelerate launch` runs."""

    def run(self) -> Result:
        """Submit the job and, unless its ``wait`` is false, follow it to its end.

        Raises:
            AccelError: the job can't be submitted.
        """
        from accel_sagemaker.service.follow import run

        return run(self)


def make(context: LaunchContext) -> Plan:
    """Return the plan for a training job.

    Raises:
        AccelError: the settings don't describe a job that SageMaker can run.
    """
    request = assembly.build(context)
    return Plan("sagemaker", (), request=Launch(**dict(request)), summary=_summary(context, request))


def _summary(context: LaunchContext, request: JobRequest) -> str:
    resources = request.body["ResourceConfig"]
    precision = context.settings[Precision].mixed_precision
    where = f"{resources['InstanceCount']} x {resources['InstanceType']} in {request.region}"
    kind = f", {context.layout.kind}" if context.layout.kind != "NO" else ""
    return f"job {request.name} on {where}{kind}, precision {precision}, engine sagemaker"


ENGINE = Engine(
    make,
    honors=(SageMaker, "num_machines", "num_processes", "nproc_per_node"),
    ignores={"a SageMaker job starts nothing on this machine": (*LOCAL, Rendezvous)},
    remote_devices=True,
)
