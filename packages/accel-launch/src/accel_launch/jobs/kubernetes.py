"""A manifest for Kubernetes: an indexed Job, in which each pod is a machine, and what several pods need to meet.

That is a Service, and a Secret by which their launchers know each other. Manifests are kept in files and
repositories, so they only name the Secret, with the command that makes it.
"""

from __future__ import annotations

import math

from accel_config.catalogue import Launcher, Rendezvous, Scheduler
from accel_config.errors import LATER, AccelError
from accel_config.showing.wording import describe
from accel_launch.jobs import limits
from accel_launch.running.process import CARRIED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from accel_launch.jobs.job import Job
    from accel_launch.machine.host import Host

INDEX = "metadata.annotations['batch.kubernetes.io/job-completion-index']"
PORT = 29500
KEY = "words"  # of the Secret; the value of one called "secret" would be masked in the note
RANDOM = "od -An -v -tx1 -N32 /dev/urandom | tr -d ' \\n'"
MAKING = f"{RANDOM} | kubectl create secret generic {{}} --from-file={KEY}=/dev/stdin"
IMAGE = "IMAGE"
PYTHON = "python3"  # as images have it on PATH
RANK = "ACCELERATE_LAUNCH_MACHINE_RANK"
LONGEST = 50  # a host name has at most 63 characters, and a pod's is the job's with its index
LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")
# Texts of these letters that begin with a letter are themselves in every version of YAML, except for these words.
PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./")
WORDS = frozenset(("null", "true", "false", "yes", "no", "on", "off"))
MARGIN = 15  # seconds from the end of the ranks' grace to that of the pod
# A pod that its node lost, or whose script asks for another start, is made anew without counting as a failure.
PASSING: dict[str, object] = {
    "rules": [
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]},
        {"action": "Ignore", "onExitCodes": {"operator": "In", "values": [LATER]}},
    ]
}
SAVING = ("checkpoint", "ckpt", "output_dir", "save_dir", "save_path", "resume")
"""Parts of the names of flags by which scripts learn where to save."""
GPU = "nvidia.com/gpu"
SLURMS = ("job_notice", "job_options")
"""Settings of a job that only Slurm has."""


def text(job: Job, host: Host) -> tuple[str, tuple[str, ...]]:
    """Return the manifest, and notes on it.

    Raises:
        AccelError: the job's name isn't valid as a host name.
    """
    name = job.name
    if len(name) > LONGEST or not LETTERS.issuperset(name) or not name[0].isalpha() or name[-1] == "-":
        raise AccelError(
            f"job_name {name} ({job.settings.origin('job_name')}) isn't a valid host name for the pods: use at "
            f"most {LONGEST} lower-case letters, digits and hyphens, beginning with a letter"
        )
    if job.machines == 1:
        return _dumped([_job(job, host)]), _notes(job)
    making, once = MAKING.format(_secret(job)), "once, before the first job of this name"
    before = f"# The launchers know each other by a Secret. Make it {once}:\n# {making}\n"
    notes = (*_notes(job), f"make the Secret {_secret(job)} {once}: {making}")
    return before + _dumped([_service(name), _job(job, host)]), notes


def _dumped(parts: list[dict[str, object]]) -> str:
    """Return YAML in which every text that another reader could take for something else is quoted.

    PyYAML quotes what it would itself read as a number or a boolean, but kubectl reads ``1e3``, ``0o17`` and ``y``
    in other ways. Letters stay as they are, unless one of the texts has characters that no terminal shows.
    """
    import yaml

    class Dumper(yaml.SafeDumper):
        pass

    def quoted(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
        plain = PLAIN.issuperset(text) and len(text) > 1 and text[0].isalpha() and text.lower() not in WORDS
        style = None if plain else '"'
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)  # pyright: ignore[reportUnknownMemberType]

    Dumper.add_representer(str, quoted)

    def dumped(*, letters: bool) -> str:
        return yaml.dump_all(parts, Dumper=Dumper, sort_keys=False, width=float("inf"), allow_unicode=letters)

    readable = dumped(letters=True)
    return readable if readable.replace("\n", "").isprintable() else dumped(letters=False)


def command(job: Job, _host: Host) -> tuple[str, ...]:
    """Return the command of each pod: the launcher that printed this, of the image's own interpreter."""
    return job.words(PYTHON, *_placement(job))


def first_machine(job: Job) -> dict[str, str]:
    """Return the variables that the first pod gets besides those that are set here."""
    return {RANK: "0"} if job.machines > 1 else {}


def _notes(job: Job) -> tuple[str, ...]:
    package = job.module[0].replace("_", "-")
    settings, target = job.settings, job.typed.script[0]
    place = f"{target} at that path" if "/" in target else f"{target} in its working folder"
    needs = f"the module {target}" if settings[Launcher].module else place
    notes = [f"the image must have {package} for its {PYTHON}, and {needs}"]
    idle = [name for name in SLURMS if settings.given(name)]
    if idle:
        notes.append(f"{describe(settings, *idle)}: without effect in a Kubernetes Job")
    if job.settings[Scheduler].job_image is None:
        notes.append(f"job_image isn't set: replace {IMAGE} by the name of your image")
    file = job.settings.value("config_file")
    if file.value is not None:
        notes.append(f"config_file {file.value} ({file.origin}): the image must hold it at that path")
    saved = _saved(job.typed.script[1:])
    if saved or settings[Scheduler].job_requeue:
        what = f" ({saved})" if saved else ""
        notes.append(f"the manifest mounts no volume that outlives a pod: add one for what the script saves{what}")
    if job.gpus is None:
        notes.append("neither num_processes nor job_gpus is set, so the pods request no GPU")
    return tuple(notes)


def _saved(words: Sequence[str]) -> str:
    """Return the first of a script's arguments that seems to be where it saves; nothing for an address."""
    for place, word in enumerate(words):
        flag, equals, value = word.partition("=")
        if flag.startswith("-") and any(name in flag.lower().replace("-", "_") for name in SAVING):
            value = value if equals else next(iter(words[place + 1 : place + 2]), "")
            if value and not value.startswith("-") and "://" not in value:
                return value
    return ""


def _service(name: str) -> dict[str, object]:
    """Return the headless Service, which gives each pod a host name."""
    # The machines wait for each other by name, so a pod needs its name before it is ready.
    spec = {"clusterIP": "None", "publishNotReadyAddresses": True, "selector": {"job-name": name}}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


def _secret(job: Job) -> str:
    """Return the name of the Secret for the launchers. No rank gets it."""
    return f"{job.name}-lifeline"


def _job(job: Job, host: Host) -> dict[str, object]:
    tries = job.machines if job.settings[Scheduler].job_requeue else 0  # a failure ends the pods of all machines
    spec: dict[str, object] = {
        "completionMode": "Indexed",
        "completions": job.machines,
        "parallelism": job.machines,
        "backoffLimit": tries,
        "template": {"spec": _pod(job, host)},
    }
    if tries:
        spec["podFailurePolicy"] = PASSING
    limit = limits.seconds(job.settings)
    if limit is not None:
        spec["activeDeadlineSeconds"] = limit
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": job.name}, "spec": spec}


def _pod(job: Job, host: Host) -> dict[str, object]:
    container = {
        "name": "train",
        "image": job.settings[Scheduler].job_image or IMAGE,
        "command": [_literal(word) for word in command(job, host)],
        "env": _environment(job, host),
        "resources": _resources(job),
        # Data loaders share memory between processes, and a container has 64 MiB of it by default.
        "volumeMounts": [{"name": "shm", "mountPath": "/dev/shm"}],  # noqa: S108
    }
    grace = math.ceil(job.settings[Launcher].grace) + MARGIN
    pod: dict[str, object] = {"restartPolicy": "Never", "terminationGracePeriodSeconds": grace}
    if job.machines > 1:
        pod["subdomain"] = job.name
        container["ports"] = [{"containerPort": _port(job)}]
    return {**pod, "containers": [container], "volumes": [{"name": "shm", "emptyDir": {"medium": "Memory"}}]}


def _literal(word: str) -> str:
    """Escape a word: Kubernetes expands ``$(NAME)`` to the variable, and ``$$`` to ``$``."""
    return word.replace("$", "$$") if "$(" in word or "$$" in word else word


def _placement(job: Job) -> tuple[str, ...]:
    """Return the flags that are the same in each pod: the number of pods, the address of the first, and the file.

    Nothing else sets the place of a pod, and the config file may hold that of another run. The default file isn't
    at the same place for the image's user.
    """
    typed = {name for name, _words in job.typed.flags}
    path = job.settings.value("config_file").value
    file = () if path is None or "config_file" in typed else ("--config_file", str(path))
    if job.machines == 1:
        alone = ("--main_process_ip", "127.0.0.1") if job.settings.given("main_process_ip") else ()
        return ("--num_machines", "1", "--machine_rank", "0", *alone, *file)
    port = () if "main_process_port" in typed else ("--main_process_port", str(_port(job)))
    return ("--num_machines", str(job.machines), "--main_process_ip", f"{job.name}-0.{job.name}", *port, *file)


def _port(job: Job) -> int:
    return job.settings[Rendezvous].main_process_port or PORT


def _environment(job: Job, host: Host) -> list[dict[str, object]]:
    """Return a pod's variables: those that are set where this is printed, and the rank of its machine."""
    own = job.variables(host).items()
    env: list[dict[str, object]] = [{"name": name, "value": _literal(value)} for name, value in own]
    if job.machines > 1:
        place = {"fieldRef": {"fieldPath": INDEX}}
        env.append({"name": RANK, "valueFrom": place})
        secret = {"secretKeyRef": {"name": _secret(job), "key": KEY}}
        env.append({"name": CARRIED, "valueFrom": secret})
    return env


def _resources(job: Job) -> dict[str, object]:
    asked = job.settings[Scheduler]
    wanted: dict[str, object] = {}
    if asked.job_cpus:
        wanted["cpu"] = str(asked.job_cpus)
    if asked.job_memory:
        wanted["memory"] = limits.memory(job.settings, limits.KUBERNETES)
    gpus = {GPU: str(job.gpus)} if job.gpus else {}
    return {**({"requests": wanted} if wanted else {}), **({"limits": gpus} if gpus else {})}
