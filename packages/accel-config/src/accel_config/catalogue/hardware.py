"""On what to train: devices, processes, machines, threads."""

from ..section import Section, digit, plain, setting

MULTI_DEVICE = tuple(f"MULTI_{kind}" for kind in ["GPU", "NPU", "MLU", "SDAA", "MUSA", "XPU", "HPU", "NEURON"])
DISTRIBUTED_TYPES = ("NO", "MULTI_CPU", *MULTI_DEVICE, "DEEPSPEED", "FSDP", "XLA", "MEGATRON_LM")
SAGEMAKER_TYPES = ("DATA_PARALLEL", "MODEL_PARALLEL")


class Hardware(Section, title="Hardware selection"):
    """Where the script runs, and on what kind of device."""

    compute_environment: str = setting(
        "LOCAL_MACHINE",
        choices=("LOCAL_MACHINE", "AMAZON_SAGEMAKER"),
        ask="In which compute environment are you running?",
        help="Whether to train on this machine (or these machines) or to submit a job to Amazon SageMaker.",
    )
    distributed_type: str | None = setting(
        choices=(*DISTRIBUTED_TYPES, *SAGEMAKER_TYPES),
        renamed={"tpu": "XLA", "false": "NO"},
        ask="Which type of machine are you using?",
        help="How to distribute. Without it and without a switch below, it follows from the devices and processes.",
    )
    cpu: bool = setting(
        False,
        switch=True,
        key="use_cpu",
        env="ACCELERATE_USE_CPU",
        form=plain,
        ask="Do you want to run your training on CPU only, even where there is a GPU?",
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


class Paradigms(Section, title="Training paradigm"):
    """Which library distributes the model."""

    use_deepspeed: bool = setting(
        False, switch=True, key=None, ask="Do you want to use DeepSpeed?", help="Train with DeepSpeed."
    )
    use_fsdp: bool = setting(
        False,
        switch=True,
        key=None,
        ask="Do you want to use FullyShardedDataParallel?",
        help="Train with FullyShardedDataParallel.",
    )
    use_megatron_lm: bool = setting(
        False, switch=True, key=None, ask="Do you want to use Megatron-LM?", help="Train with Megatron-LM."
    )
    use_parallelism_config: bool = setting(
        False,
        switch=True,
        key=None,
        ask="Do you want to use the parallelism config (tensor, context, sequence, replicated and sharded)?",
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

    num_processes: int | None = setting(
        minimum=1,
        unset=("-1",),
        ask="How many processes (devices) should be used for distributed training, over all machines?",
        help="Processes in all, over all machines. Without it: one for each device of gpu_ids, or that is visible.",
    )
    num_machines: int = setting(
        1, minimum=1, ask="How many different machines will you use?", help="Machines that take part."
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
        ask="Which GPUs (by id) should be used for training on this machine, as a comma-separated list?",
        help="Devices of this machine to use, of those that are visible: ids, ranges (0-3), UUIDs, or 'all'.",
    )
    enable_cpu_affinity: bool = setting(
        False,
        switch=True,
        env="ACCELERATE_CPU_AFFINITY",
        form=digit,
        exported=lambda settings: settings[Resources].enable_cpu_affinity,
        ask="Would you like to bind each process to the CPU cores nearest to its device (NUMA affinity)?",
        help="Have the script bind each process to the cores nearest to its device.",
    )
