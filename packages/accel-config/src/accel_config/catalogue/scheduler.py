"""Schedulers: whether their placement is used, and jobs that run the same launch."""

from accel_config.settings.declaration import Section, setting
from accel_config.settings.readers import Duration


class Scheduler(Section, title="Schedulers and jobs", short="jobs"):
    """Placement by Slurm, mpirun or Kubernetes, and job files for them."""

    no_scheduler: bool = setting(
        False,
        switch=True,
        ours=True,
        help="Ignore Slurm, `mpirun`, `PET_*`, RANK and MASTER_ADDR: each process is a run of its own.",
    )
    slurm: bool = setting(
        False,
        switch=True,
        key=None,
        common=True,
        help="Print a batch script for `sbatch` that runs this launch, and run nothing.",
    )
    submit: bool = setting(False, switch=True, key=None, help="With `--slurm`, submit the script with `sbatch`.")
    kubernetes: bool = setting(
        False,
        switch=True,
        key=None,
        help="Print a manifest for `kubectl` that runs this launch (an indexed Job with its Service), "
        "and run nothing.",
    )
    job_name: str | None = setting(
        ours=True, metavar="NAME", default_text="the script's name", help="Name of the job."
    )
    job_time: str | None = setting(
        ours=True,
        metavar="TIME",
        default_text="the cluster's",
        help="Time limit of the job, as `sbatch` reads it (`2:30:00`, `1-12:00:00`).",
    )
    job_notice: Duration = setting(
        Duration.read("90s"),
        minimum=1,
        ours=True,
        help="Time before a Slurm job's limit at which the script gets SIGUSR1, so that it can save its work.",
    )
    job_requeue: bool = setting(
        False,
        switch=True,
        ours=True,
        help="Queue a Slurm job again after it was preempted, lost a machine, or reached its time "
        "limit; retry a Kubernetes Job after a failure.",
    )
    job_gpus: int | None = setting(
        minimum=0,
        maximum=1024,  # the job is planned once with so many devices
        ours=True,
        default_text="one for each process of the machine",
        help="GPUs of each machine of the job.",
    )
    job_cpus: int | None = setting(minimum=1, ours=True, help="CPUs of each machine of the job.")
    job_memory: str | None = setting(
        ours=True,
        metavar="SIZE",
        help="Memory of each machine of the job, in the scheduler's form (Slurm `64G`, Kubernetes `64Gi`).",
    )
    job_image: str | None = setting(ours=True, metavar="IMAGE", help="Container image of a Kubernetes Job.")
    job_options: tuple[str, ...] = setting(
        (),
        ours=True,
        metavar="OPTION",
        help="Further option for `sbatch`, such as `partition=gpu` or `account=lab`. Can be repeated.",
    )
