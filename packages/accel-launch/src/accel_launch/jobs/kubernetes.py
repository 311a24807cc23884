"""A manifest for Kubernetes: an indexed Job, each of whose pods is a machine, and the Service by which they meet."""

from __future__ import annotations

from accel_config.catalogue import Rendezvous, Scheduler
from accel_config.errors import AccelError

from . import variables

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..host import Host
    from . import Job

INDEX = "metadata.annotations['batch.kubernetes.io/job-completion-index']"
PORT = 29500
IMAGE = "IMAGE"
LONGEST = 50  # a pod's name has its index after the job's, and a label of a host's name 63 letters
LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")
GPU = "nvidia.com/gpu"
UNITS = (3600, 60, 1)
DAY = 86400


def text(job: Job, host: Host) -> tuple[str, tuple[str, ...]]:
    """Return the manifest, and what is to be said about it.

    Raises:
        AccelError: the job's name is none that a host may have.
    """
    import yaml

    name = job.name
    if len(name) > LONGEST or not LETTERS.issuperset(name) or not name[0].isalpha() or name[-1] == "-":
        raise AccelError(
            f"job_name {name} ({job.settings.origin('job_name')}): the pods are hosts of that name, so it has small "
            f"letters, digits and hyphens, {LONGEST} at most, and begins with a letter; give another --job_name"
        )
    parts = [_service(name), _manifest(job, host)] if job.machines > 1 else [_manifest(job, host)]
    return yaml.safe_dump_all(parts, sort_keys=False, width=float("inf"), allow_unicode=True), _notes(job)


def _notes(job: Job) -> tuple[str, ...]:
    notes: list[str] = []
    if job.settings[Scheduler].job_image is None:
        notes.append(f"job_image isn't set: put the name of your image in the place of {IMAGE}")
    file = job.settings.value("config_file")
    if file.value is not None:
        notes.append(f"config_file {file.value} ({file.origin}): the image must hold it at that path")
    if job.gpus is None:
        notes.append("neither processes nor job_gpus are said, so the pods ask for no GPU")
    return tuple(notes)


def _service(name: str) -> dict[str, object]:
    """Return the Service without an address of its own, which gives each pod a name."""
    # The machines wait for each other by name, so a pod has its name before it is ready.
    spec = {"clusterIP": "None", "publishNotReadyAddresses": True, "selector": {"job-name": name}}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


def _manifest(job: Job, host: Host) -> dict[str, object]:
    tries = job.machines if job.settings[Scheduler].job_requeue else 0  # one try ends the pods of all machines
    spec = {
        "completionMode": "Indexed",
        "completions": job.machines,
        "parallelism": job.machines,
        "backoffLimit": tries,
        "template": {"spec": _pod(job, host)},
    }
    limit = _seconds(job)
    if limit is not None:
        spec["activeDeadlineSeconds"] = limit
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": job.name}, "spec": spec}


def _pod(job: Job, host: Host) -> dict[str, object]:
    container = {
        "name": "train",
        "image": job.settings[Scheduler].job_image or IMAGE,
        "command": [_literal(word) for word in job.words(*_placement(job))],
        "env": _environment(job, host),
        "resources": _resources(job),
        # Data loading shares memory between processes, and a container's own share is 64 MiB.
        "volumeMounts": [{"name": "shm", "mountPath": "/dev/shm"}],  # noqa: S108
    }
    pod: dict[str, object] = {"restartPolicy": "Never"}
    if job.machines > 1:
        pod["subdomain"] = job.name
        container["ports"] = [{"containerPort": _port(job)}]
    return {**pod, "containers": [container], "volumes": [{"name": "shm", "emptyDir": {"medium": "Memory"}}]}


def _literal(word: str) -> str:
    """Write a word so that it stays: Kubernetes reads ``$(NAME)`` as a variable, and ``$$`` as ``$``."""
    return word.replace("$", "$$") if "$(" in word or "$$" in word else word


def _placement(job: Job) -> tuple[str, ...]:
    """Return the flags that are the same in each pod: how many there are, and where the first one is."""
    if job.machines == 1:
        return ()
    typed = any(name == "main_process_port" for name, _words in job.typed.flags)
    port = () if typed else ("--main_process_port", str(_port(job)))
    return "--num_machines", str(job.machines), "--main_process_ip", f"{job.name}-0.{job.name}", *port


def _port(job: Job) -> int:
    return job.settings[Rendezvous].main_process_port or PORT


def _environment(job: Job, host: Host) -> list[dict[str, object]]:
    """Return what a pod is told: its own place, and the variables that were in force where this was printed."""
    told: list[dict[str, object]] = [
        {"name": name, "value": value} for name, value in variables(job.settings, host).items()
    ]
    if job.machines > 1:
        place = {"fieldRef": {"fieldPath": INDEX}}
        told.append({"name": "ACCELERATE_LAUNCH_MACHINE_RANK", "valueFrom": place})
    return told


def _resources(job: Job) -> dict[str, object]:
    asked = job.settings[Scheduler]
    wanted: dict[str, object] = {}
    if asked.job_cpus:
        wanted["cpu"] = str(asked.job_cpus)
    if asked.job_memory:
        wanted["memory"] = asked.job_memory
    limits = {GPU: str(job.gpus)} if job.gpus else {}
    return {**({"requests": wanted} if wanted else {}), **({"limits": limits} if limits else {})}


def _seconds(job: Job) -> int | None:
    """Read Slurm's forms of a time: M, M:S, H:M:S, D-H, D-H:M, D-H:M:S.

    Raises:
        AccelError: it is none.
    """
    asked = job.settings[Scheduler].job_time
    if asked is None:
        return None
    days, hyphen, rest = asked.rpartition("-")
    parts = rest.split(":")
    if not all(part.isdecimal() for part in parts) or len(parts) > len(UNITS) or (hyphen and not days.isdecimal()):
        raise AccelError(
            f"job_time {asked} ({job.settings.origin('job_time')}) is no time such as 2:30:00 or 1-12:00:00"
        )
    first = 1 if not hyphen and len(parts) < len(UNITS) else 0  # without days, fewer than three begin with minutes
    return int(days or 0) * DAY + sum(int(part) * unit for part, unit in zip(parts, UNITS[first:], strict=False))
