"""Where the script trains: devices, processes, machines, threads."""

from accel_config.settings.declaration import Section, setting
from accel_config.settings.forms import digit
from accel_config.settings.paradigm import paradigm
from accel_config.settings.question import Question
from accel_config.settings.readers import Duration
from accel_config.settings.span import Span

MULTI_DEVICE = tuple(f"MULTI_{kind}" for kind in ["GPU", "NPU", "MLU", "SDAA", "MUSA", "XPU", "HPU", "NEURON"])
DISTRIBUTED_TYPES = ("NO", "MULTI_CPU", *MULTI_DEVICE, "DEEPSPEED", "FSDP", "XLA", "MEGATRON_LM")
SAGEMAKER_TYPES = ("DATA_PARALLEL", "MODEL_PARALLEL")
MACHINE_TYPES = ("NO", "MULTI_CPU", *MULTI_DEVICE, "XLA")
SHARDABLE = tuple(kind for kind in MULTI_DEVICE if kind != "MULTI_NEURON")

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_config.settings.values import Values


def _job(settings: "Values") -> bool:
    return settings[Hardware].compute_environment == "AMAZON_SAGEMAKER"


def _several(settings: "Values") -> bool:
    """Return whether several processes on CPUs or devices take part."""
    return paradigm(settings).kind.startswith("MULTI_")


def _on_devices(settings: "Values") -> bool:
    return not settings[Hardware].cpu and paradigm(settings).kind in ("NO", *MULTI_DEVICE)


def binding(settings: "Values") -> tuple[str, str]:
    """Return what the ranks are bound to, and the name of the setting that decides it: the stronger of two."""
    bind, affinity = settings.value("bind"), settings.value("enable_cpu_affinity")
    if affinity.value and affinity.origin.layer < bind.origin.layer:
        return "numa", "enable_cpu_affinity"
    return str(bind.value), "bind"


class Hardware(Section, title="Hardware selection"):
    """Where the script runs, and on which kind of device."""

    compute_environment: str = setting(
        "LOCAL_MACHINE",
        choices=("LOCAL_MACHINE", "AMAZON_SAGEMAKER"),
        scope="both",
        help="Where the script runs: on this machine (or several like it), or in an Amazon SageMaker job.",
        ask=Question(
            "In which compute environment are you running?",
            labels={
                "LOCAL_MACHINE": "This machine, or several like it",
                "AMAZON_SAGEMAKER": "AWS (Amazon SageMaker)",
            },
        ),
    )
    distributed_type: str | None = setting(
        choices=(*DISTRIBUTED_TYPES, *SAGEMAKER_TYPES),
        renamed={"tpu": "XLA", "false": "NO"},
        scope="both",
        default_text="automatic, from the devices and processes",
        help="Way to distribute the training. The switches below set it too.",
        ask=Question(
            "Which type of machine are you using?",
            default=lambda settings, machine: "NO" if _job(settings) else machine.distributed_type,
            offered=lambda settings: ("NO", SAGEMAKER_TYPES[0]) if _job(settings) else MACHINE_TYPES,
            labels={
                "NO": "No distributed training",
                "MULTI_CPU": "Several processes on CPUs",
                **{kind: f"Several {kind.removeprefix('MULTI_')}s" for kind in MULTI_DEVICE},
                "XLA": "TPU",
                "DATA_PARALLEL": "Data parallel",
            },
        ),
    )
    cpu: bool = setting(
        False,
        switch=True,
        key="use_cpu",
        env="ACCELERATE_USE_CPU",
        form=str,
        scope="both",
        common=True,
        help="Train on the CPU, even if the machine has accelerators.",
        ask=Question(
            "Do you want to train on CPU only, even if the machine has a GPU?",
            default=lambda _settings, machine: machine.count == 0,
            when=lambda settings: not _job(settings) and paradigm(settings).kind == "NO",
            implied=lambda settings: True if paradigm(settings).kind == "MULTI_CPU" else None,
        ),
    )
    multi_gpu: bool = setting(
        False, switch=True, key=None, common=True, help="Train on several GPUs or other accelerators."
    )
    tpu: bool = setting(False, switch=True, key=None, help="Train on a TPU.")
    ipex: bool = setting(
        False,
        switch=True,
        key=None,
        deprecated="the Intel extension for PyTorch is no longer needed; torch itself supports these devices",
        help="Has no effect.",
    )
    num_devices: int | None = setting(
        minimum=0,
        maximum=1024,
        ours=True,
        default_text="as many as the drivers' files list",
        help="Accelerators of this machine, where the launcher doesn't find or count them right.",
    )
    wait_for_devices: Duration = setting(
        Duration.read("0s"),
        minimum=0,
        ours=True,
        help="Time such as `30m` to wait until there are enough idle devices for `--gpu_ids idle`.",
    )


class Paradigms(Section, title="Training mode", short="mode", asked=lambda settings: not settings[Hardware].cpu):
    """The library that distributes the model."""

    use_deepspeed: bool = setting(
        False,
        switch=True,
        key=None,
        common=True,
        help="Train with DeepSpeed.",
        ask=Question(
            "Do you want to use DeepSpeed?", when=lambda settings: paradigm(settings).kind in ("NO", *SHARDABLE)
        ),
    )
    use_fsdp: bool = setting(
        False,
        switch=True,
        key=None,
        common=True,
        help="Train with FullyShardedDataParallel (FSDP).",
        ask=Question(
            "Do you want to use FullyShardedDataParallel?", when=lambda settings: paradigm(settings).kind in SHARDABLE
        ),
    )
    use_megatron_lm: bool = setting(
        False,
        switch=True,
        key=None,
        help="Train with Megatron-LM.",
        ask=Question("Do you want to use Megatron-LM?", when=lambda settings: paradigm(settings).kind == "MULTI_GPU"),
    )
    use_parallelism_config: bool = setting(
        False,
        switch=True,
        key=None,
        help="Pass the sizes of the parallelism config to the script. Any size in the config file turns this on.",
    )
    use_xpu: bool = setting(
        False,
        switch=True,
        key=None,
        deprecated="XPU devices are used automatically",
        help="Has no effect.",
    )


class Resources(Section, title="Resources"):
    """Numbers of processes and threads, and their devices."""

    num_machines: Span = setting(
        Span.of(1, 1),
        minimum=1,
        maximum=100_000,
        scope="both",
        common=True,
        help="Machines that take part. With `MIN:MAX` the run is elastic: it starts with MIN machines "
        "and accepts more, up to MAX.",
        ask=Question(
            "How many different machines will you use?",
            when=lambda settings: _several(settings) or paradigm(settings).kind == SAGEMAKER_TYPES[0],
        ),
    )
    num_processes: int | None = setting(
        minimum=1,
        maximum=1_000_000,
        unset=("-1",),
        default_text="one for each device in gpu_ids, or for each visible device",
        common=True,
        help="Processes on all machines together.",
        ask=Question(
            "How many processes should be used, on all machines together?",
            default=lambda settings, machine: machine.processes(settings),
            when=lambda settings: paradigm(settings).kind != "NO",
            implied=lambda settings: 1 if paradigm(settings).kind == "NO" else None,
        ),
    )
    nproc_per_node: int | None = setting(
        minimum=1,
        maximum=1_000_000,
        scope="both",
        ours=True,
        default_text="an equal share of num_processes; in a job with MULTI_GPU or FSDP, one for each GPU",
        help="Processes on this machine; machines may differ. In a SageMaker job: processes on each instance.",
    )
    num_cpu_threads_per_process: int | None = setting(
        minimum=1,
        ours=True,
        default_text="OMP_NUM_THREADS, or the machine's cores divided by its processes",
        help="Threads of each process (OMP_NUM_THREADS).",
    )
    gpu_ids: str | None = setting(
        joins=True,
        unset=("all",),
        scope="both",
        metavar="IDS",
        default_text="all",
        common=True,
        help="Visible devices of this machine to use: ids, ranges (`0-3`), UUIDs, or `all`; or `idle`, or `idle:2`: "
        "those that nobody computes on.",
        ask=Question(
            "Which GPUs of this machine should be used (ids, separated by commas, or all)?",
            default="all",
            when=lambda settings: not _job(settings) and _on_devices(settings),
        ),
    )
    enable_cpu_affinity: bool = setting(
        False,
        switch=True,
        env="ACCELERATE_CPU_AFFINITY",
        form=digit,
        exported=lambda settings: settings[Resources].enable_cpu_affinity and binding(settings)[0] == "numa",
        scope="both",
        help="Bind each process to the CPUs nearest to its device, as `--bind numa`, and let the script do so too.",
        ask=Question(
            "Do you want to bind each process to the CPU cores nearest to its device (NUMA affinity)?",
            when=lambda settings: (
                not _job(settings) and _on_devices(settings) and paradigm(settings).kind in ("NO", "MULTI_GPU")
            ),
        ),
    )
    bind: str = setting(
        "none",
        ours=True,
        metavar="HOW",
        default_text="numa with enable_cpu_affinity, else none",
        help="CPUs that each process is bound to: `numa` for those of its device's NUMA node, `socket` for those of "
        "the socket, `cores` for a share of its own, `none`, or a list for each local rank, such as `0-3,8-11/4-7`.",
    )
