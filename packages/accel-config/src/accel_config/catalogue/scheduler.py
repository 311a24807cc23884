"""Schedulers: whether what they say of this process is taken, and jobs for them that run the same launch."""

from ..section import Section, setting


class Scheduler(Section, title="Schedulers and jobs"):
    """Placement by Slurm, mpirun or Kubernetes, and job files printed for them."""

    no_scheduler: bool = setting(
        False,
        switch=True,
        ours=True,
        help="Take nothing from Slurm, mpirun, PET_*, RANK or MASTER_ADDR: each process is a run of its own.",
    )
    slurm: bool = setting(
        False, switch=True, key=None, help="Print a batch script for sbatch that runs this launch; run nothing."
    )
    submit: bool = setting(False, switch=True, key=None, help="With --slurm: submit that script with sbatch.")
    kubernetes: bool = setting(
        False,
        switch=True,
        key=None,
        help="Print a manifest for kubectl, an indexed Job with its Service, that runs this launch; run nothing.",
    )
    job_name: str | None = setting(ours=True, help="Name of the job. Unset: the script's.")
    job_time: str | None = setting(
        ours=True, help="Time limit of the job, as sbatch takes it (2:30:00, 1-12:00:00). Unset: the cluster's."
    )
    job_notice: int = setting(
        90,
        minimum=1,
        ours=True,
        help="Seconds before a Slurm job's time limit at which the script gets SIGUSR1, to save its work.",
    )
    job_requeue: bool = setting(
        False,
        switch=True,
        ours=True,
        help="Queue a Slurm job again after it was preempted, lost a machine, or ended unfinished at its time limit; "
        "give a Kubernetes Job another try after a failure.",
    )
    job_gpus: int | None = setting(
        minimum=0, ours=True, help="GPUs of each machine of the job. Unset: one for each process there."
    )
    job_cpus: int | None = setting(minimum=1, ours=True, help="CPUs of each machine of the job.")
    job_memory: str | None = setting(
        ours=True, help="Memory of each machine of the job, in its scheduler's form (Slurm 64G, Kubernetes 64Gi)."
    )
    job_image: str | None = setting(ours=True, help="Container image of a Kubernetes Job.")
    job_options: tuple[str, ...] = setting(
        (),
        ours=True,
        help="A further option for sbatch, such as partition=gpu or account=lab; the flag may be repeated.",
    )
