"""On what to train: devices, processes, machines, threads."""

from ..section import Section, digit, plain, setting
from ..span import Span

MULTI_DEVICE = tuple(f"MULTI_{kind}" for kind in ["GPU", "NPU", "MLU", "SDAA", "MUSA", "XPU", "HPU", "NEURON"])
DISTRIBUTED_TYPES = ("NO", "MULTI_CPU", *MULTI_DEVICE, "DEEPSPEED", "FSDP", "XLA", "MEGATRON_LM")
SAGEMAKER_TYPES = ("DATA_PARALLEL", "MODEL_PARALLEL")
MACHINE_TYPES = ("NO", "MULTI_CPU", *MULTI_DEVICE, "XLA")
SHARDABLE = tuple(kind for kind in MULTI_DEVICE if kind != "MULTI_NEURON")

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..settings import Settings


def _job(settings: "Settings") -> bool:
    return settings[Hardware].compute_environment == "AMAZON_SAGEMAKER"


def _several(settings: "Settings") -> bool:
    """Whether the answers so far leave room for several processes on CPUs or devices."""
    return settings.paradigm.kind.startswith("MULTI_")


def _on_devices(settings: "Settings") -> bool:
    return not settings[Hardware].cpu and settings.paradigm.kind in ("NO", *MULTI_DEVICE)


class Hardware(Section, title="Hardware selection"):
    """Where the script runs, and on what kind of device."""

    compute_environment: str = setting(
        "LOCAL_MACHINE",
        choices=("LOCAL_MACHINE", "AMAZON_SAGEMAKER"),
        scope="both",
        labels={
            "LOCAL_MACHINE": "This machine, or several like it",
            "AMAZON_SAGEMAKER": "AWS (Amazon SageMaker)",
        },
        ask="In which compute environment are you running?",
        help="Whether to train on this machine (or these machines) or to submit a job to Amazon SageMaker.",
    )
    distributed_type: str | None = setting(
        choices=(*DISTRIBUTED_TYPES, *SAGEMAKER_TYPES),
        renamed={"tpu": "XLA", "false": "NO"},
        scope="both",
        offered=lambda settings: ("NO", SAGEMAKER_TYPES[0]) if _job(settings) else MACHINE_TYPES,
        labels={
            "NO": "No distributed training",
            "MULTI_CPU": "Several processes on CPUs",
            **{kind: f"Several {kind.removeprefix('MULTI_')}s" for kind in MULTI_DEVICE},
            "XLA": "TPU",
            "DATA_PARALLEL": "Data parallel",
        },
        ask="Which type of machine are you using?",
        ask_default=lambda settings, machine: "NO" if _job(settings) else machine.distributed_type,
        help="How to distribute. Without it and without a switch below, it follows from the devices and processes.",
    )
    cpu: bool = setting(
        False,
        switch=True,
        key="use_cpu",
        env="ACCELERATE_USE_CPU",
        form=plain,
        scope="both",
        ask="Do you want to run your training on CPU only, even where there is a GPU?",
        ask_default=lambda _settings, machine: machine.count == 0,
        asked=lambda settings: not _job(settings) and settings.paradigm.kind == "NO",
        implied=lambda settings: True if settings.paradigm.kind == "MULTI_CPU" else None,
        help="Train on the CPU, whatever devices there are.",
    )
    multi_gpu: bool = setting(False, switch=True, key=None, help="Train on several GPUs, or other devices, at once.")
    tpu: bool = setting(False, switch=True, key=None, help="Train on a TPU.")
    ipex: bool = setting(
        False,
        switch=True,
        key=None,
        deprecated="the Intel extension for PyTorch is no longer needed: torch itself supports these devices",
        help="Has no effect any more.",
    )


class Paradigms(Section, title="Training paradigm", asked=lambda settings: not settings[Hardware].cpu):
    """Which library distributes the model."""

    use_deepspeed: bool = setting(
        False,
        switch=True,
        key=None,
        ask="Do you want to use DeepSpeed?",
        asked=lambda settings: settings.paradigm.kind in ("NO", *SHARDABLE),
        help="Train with DeepSpeed.",
    )
    use_fsdp: bool = setting(
        False,
        switch=True,
        key=None,
        ask="Do you want to use FullyShardedDataParallel?",
        asked=lambda settings: settings.paradigm.kind in SHARDABLE,
        help="Train with FullyShardedDataParallel.",
    )
    use_megatron_lm: bool = setting(
        False,
        switch=True,
        key=None,
        ask="Do you want to use Megatron-LM?",
        asked=lambda settings: settings.paradigm.kind == "MULTI_GPU",
        help="Train with Megatron-LM.",
    )
    use_parallelism_config: bool = setting(
        False,
        switch=True,
        key=None,
        help="Give the script the sizes of the parallelism section. On by itself where the file sets any of them.",
    )
    use_xpu: bool = setting(
        False,
        switch=True,
        key=None,
        deprecated="XPU devices are used by themselves where they are found",
        help="Has no effect any more.",
    )


class Resources(Section, title="Resources"):
    """How many processes and threads, on which devices."""

    num_machines: Span = setting(
        Span.of(1, 1),
        minimum=1,
        maximum=100_000,
        scope="both",
        ask="How many different machines will you use?",
        asked=lambda settings: _several(settings) or settings.paradigm.kind == SAGEMAKER_TYPES[0],
        help="Machines that take part. MIN:MAX: the run starts with MIN and takes in more up to MAX (elastic).",
    )
    num_processes: int | None = setting(
        minimum=1,
        maximum=1_000_000,
        unset=("-1",),
        ask_default=lambda settings, machine: machine.processes(settings),
        asked=lambda settings: settings.paradigm.kind != "NO",
        implied=lambda settings: 1 if settings.paradigm.kind == "NO" else None,
        ask="How many processes (devices) should be used for distributed training, over all machines?",
        help="Processes in all, over all machines. Without it: one for each device of gpu_ids, or that is visible.",
    )
    nproc_per_node: int | None = setting(
        minimum=1,
        scope="both",
        ours=True,
        help="Processes on this machine, in place of an equal share of num_processes; machines may differ. "
        "In a SageMaker job: on each instance; without it, and with MULTI_GPU or FSDP, one for each GPU.",
    )
    num_cpu_threads_per_process: int | None = setting(
        minimum=1,
        ours=True,
        help="Threads of each process (OMP_NUM_THREADS). Without it, and where that variable is unset: "
        "the cores of this machine divided by its processes.",
    )
    gpu_ids: str | None = setting(
        joins=True,
        unset=("all",),
        scope="both",
        ask_default="all",
        asked=lambda settings: not _job(settings) and _on_devices(settings),
        ask="Which GPUs (by id) should be used for training on this machine, as a comma-separated list?",
        help="Devices of this machine to use, of those that are visible: ids, ranges (0-3), UUIDs, or 'all'.",
    )
    enable_cpu_affinity: bool = setting(
        False,
        switch=True,
        env="ACCELERATE_CPU_AFFINITY",
        form=digit,
        exported=lambda settings: settings[Resources].enable_cpu_affinity,
        scope="both",
        asked=lambda settings: (
            not _job(settings) and _on_devices(settings) and settings.paradigm.kind in ("NO", "MULTI_GPU")
        ),
        ask="Would you like to bind each process to the CPU cores nearest to its device (NUMA affinity)?",
        help="Have the script bind each process to the cores nearest to its device.",
    )
