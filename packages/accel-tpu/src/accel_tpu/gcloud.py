"""The command lines for gcloud, and what its complaints mean."""

from __future__ import annotations

import json
import subprocess

from accel_config.errors import AccelError
from accel_config.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

PROGRAM = "gcloud"
NOT_FOUND = 127  # a shell's status for a program that isn't there
SSH_FAILED = 255  # ssh's own status; gcloud hands it on once its attempts are used up
USABLE = frozenset(("READY", "", "STATE_UNSPECIFIED", "CREATING", "STARTING", "REPAIRING", "HIDING", "UNHIDING"))
"""States of a TPU in which gcloud tries to connect."""


class Pod(Record):
    """What is to be reached: the workers of a TPU, or Compute Engine VMs by name."""

    name: str = ""
    zone: str | None = None
    """None: gcloud's own setting decides."""
    vms: tuple[str, ...] = ()
    """Where there are any, they are the workers, and ``name`` has no meaning."""
    alpha: bool = False
    """Whether to use gcloud's alpha track."""
    name_origin: str = "given"
    zone_origin: str = "given"

    def __str__(self) -> str:
        """Show it as messages do."""
        where = f" in zone {self.zone}" if self.zone else ""
        return (f"the VMs {', '.join(self.vms)}" if self.vms else f"the TPU {self.name}") + where

    @property
    def workers(self) -> tuple[str, ...] | None:
        """The numbers of the workers where they are known without asking: those of the VMs."""
        return tuple(map(str, range(len(self.vms)))) if self.vms else None

    def label(self, worker: str) -> str:
        """Return what messages call a worker."""
        return self.vms[int(worker)] if self.vms else f"worker {worker}"


class Answer(Record):
    """How a call of gcloud ended."""

    status: int
    out: str
    err: str


def ssh(pod: Pod, worker: str, text: str) -> tuple[str, ...]:
    """Return the command line that hands ``text`` to the login shell of ``worker``: a number, or ``all`` of a TPU."""
    zone = ("--zone", pod.zone) if pod.zone else ()
    alpha = ("alpha",) if pod.alpha else ()
    if pod.vms:
        return (PROGRAM, *alpha, "compute", "ssh", pod.vms[int(worker)], *zone, "--command", text)
    return (
        *(PROGRAM, *alpha, "compute", "tpus", "tpu-vm", "ssh", pod.name),
        *(*zone, "--command", text, "--worker", worker),
    )


def describe(pod: Pod) -> tuple[str, ...]:
    """Return the command line that asks for the facts of a TPU."""
    zone = ("--zone", pod.zone) if pod.zone else ()
    alpha = ("alpha",) if pod.alpha else ()
    return (PROGRAM, *alpha, "compute", "tpus", "tpu-vm", "describe", pod.name, *zone, "--format", "json")


def ask(argv: tuple[str, ...]) -> Answer:
    """Call gcloud and return its answer.

    Raises:
        AccelError: there is no gcloud.
    """
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False)  # noqa: S603
    except OSError as error:
        raise AccelError(missing(error)) from None
    return Answer(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))


def missing(error: OSError) -> str:
    """Say that gcloud can't be started."""
    if isinstance(error, FileNotFoundError):
        return "there is no gcloud on PATH: install the Google Cloud CLI, then log in with: gcloud auth login"
    return f"gcloud can't be started: {error.strerror}"


def count_workers(pod: Pod, ask: Callable[[tuple[str, ...]], Answer] = ask) -> int:
    """Ask gcloud how many workers the TPU has.

    Raises:
        AccelError: it can't be asked, or the TPU is in no state to be used.
    """
    answer = ask(describe(pod))
    if answer.status:
        raise AccelError(complaint(answer, pod))
    try:
        facts: Any = json.loads(answer.out)
        state = str(facts.get("state", ""))
        networks = max(1, len(facts.get("networkConfigs") or ()))
        found = len(facts.get("networkEndpoints") or ()) // networks
    except (ValueError, TypeError, AttributeError):
        raise AccelError(f"gcloud's description of {pod} can't be read: {answer.out[:80]!r}") from None
    if state not in USABLE:
        raise AccelError(f"{pod} is {state}: nothing runs there until it is READY (gcloud compute tpus tpu-vm start)")
    if not found:
        raise AccelError(f"{pod} has no workers; gcloud says that it is {state or 'in no known state'}")
    return found


# What gcloud's standard error holds (in small letters), and what is to be done about it.
_COMPLAINTS: tuple[tuple[tuple[str, ...], str], ...] = (
    (
        ("active account", "gcloud auth login", "reauthentication", "refreshing your current auth tokens"),
        "gcloud isn't logged in, or the login has run out: gcloud auth login",
    ),
    (("property [project]", "attribute [project]"), "gcloud knows no project: gcloud config set project PROJECT"),
    (
        ("property [compute/zone]", "property [zone]", "attribute [zone]"),
        "the zone isn't given: --tpu_zone ZONE, tpu_zone in the config file, or gcloud config set compute/zone ZONE",
    ),
)
_ZONE = ("is not found or access is unauthorized", "unknown zone", "invalid value for field 'zone'")
_NAME = ("not_found", "was not found", "notfound")


def complaint(answer: Answer, pod: Pod) -> str:
    """Return one sentence for what gcloud complains about, with the way out; else its own last words."""
    text = answer.err.lower()
    for needles, sentence in _COMPLAINTS:
        if any(needle in text for needle in needles):
            return sentence
    if any(needle in text for needle in _ZONE):
        return (
            f"gcloud finds no zone {pod.zone} ({pod.zone_origin}), or may not look there: gcloud compute zones list"
        )
    if any(needle in text for needle in _NAME):
        what = "compute instances" if pod.vms else "compute tpus tpu-vm"
        origins = pod.name_origin + (f", {pod.zone_origin}" if pod.zone else "")
        return f"gcloud doesn't find {pod} ({origins}): gcloud {what} list shows what there is"
    if answer.status == SSH_FAILED:
        return "ssh can't connect"
    lines = [line for line in answer.err.splitlines() if line.strip()]
    said = next((line for line in lines if line.startswith("ERROR: ")), lines[-1] if lines else "nothing")
    return f"gcloud ended with status {answer.status} and said: {said}"
