"""The command lines for gcloud, and the meaning of its error messages."""

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
NOT_FOUND = 127  # a shell's status for a program that isn't installed
SSH_FAILED = 255  # ssh's own status; gcloud returns it after its last attempt
USABLE = frozenset(("READY", "", "STATE_UNSPECIFIED", "CREATING", "STARTING", "REPAIRING", "HIDING", "UNHIDING"))
"""States of a TPU in which gcloud tries to connect."""


class Pod(Record):
    """The workers of a TPU, or Compute Engine VMs by name."""

    name: str = ""
    """The name of the TPU."""
    zone: str | None = None
    """None for gcloud's own setting."""
    vms: tuple[str, ...] = ()
    """If not empty, these are the workers, and ``name`` has no meaning."""
    alpha: bool = False
    """Whether to use gcloud's alpha track."""
    name_origin: str = "given"
    """Where the name came from, for messages."""
    zone_origin: str = "given"
    """Where the zone came from, for messages."""

    def __str__(self) -> str:
        """Return the pod's name in messages."""
        where = f" in zone {self.zone}" if self.zone else ""
        return (f"the VMs {', '.join(self.vms)}" if self.vms else f"the TPU {self.name}") + where

    @property
    def workers(self) -> tuple[str, ...] | None:
        """The numbers of the workers if they are known without a call of gcloud: those of the VMs."""
        return tuple(map(str, range(len(self.vms)))) if self.vms else None

    def label(self, worker: str) -> str:
        """Return a worker's name in messages."""
        return self.vms[int(worker)] if self.vms else f"worker {worker}"


class Answer(Record):
    """The exit status and the output of a call of gcloud."""

    status: int
    out: str
    err: str


def ssh(pod: Pod, worker: str, text: str) -> tuple[str, ...]:
    """Return the command line that runs ``text`` in the login shell of ``worker``: a number, or ``all`` of a TPU."""
    zone = ("--zone", pod.zone) if pod.zone else ()
    alpha = ("alpha",) if pod.alpha else ()
    if pod.vms:
        return (PROGRAM, *alpha, "compute", "ssh", pod.vms[int(worker)], *zone, "--command", text)
    return (
        *(PROGRAM, *alpha, "compute", "tpus", "tpu-vm", "ssh", pod.name),
        *(*zone, "--command", text, "--worker", worker),
    )


def describe(pod: Pod) -> tuple[str, ...]:
    """Return the command line that describes a TPU."""
    zone = ("--zone", pod.zone) if pod.zone else ()
    alpha = ("alpha",) if pod.alpha else ()
    return (PROGRAM, *alpha, "compute", "tpus", "tpu-vm", "describe", pod.name, *zone, "--format", "json")


def ask(argv: tuple[str, ...], given: bytes = b"") -> Answer:
    """Call gcloud with ``given`` as its standard input, and return its answer.

    Raises:
        AccelError: gcloud can't be started.
    """
    try:
        done = subprocess.run(argv, input=given, capture_output=True, check=False)  # noqa: S603
    except OSError as error:
        raise AccelError(missing(error)) from None
    return Answer(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))


def missing(error: OSError) -> str:
    """Return the message for a gcloud that can't be started."""
    if isinstance(error, FileNotFoundError):
        return "gcloud isn't on PATH; install the Google Cloud CLI, then log in with: gcloud auth login"
    return f"gcloud can't be started: {error.strerror}"


def count_workers(pod: Pod, ask: Callable[[tuple[str, ...]], Answer] = ask) -> int:
    """Return how many workers the TPU has, by gcloud's description of it.

    Raises:
        AccelError: gcloud fails, or the TPU isn't in a usable state.
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
        raise AccelError(f"{pod} is {state}; start it and wait until it is READY: gcloud compute tpus tpu-vm start")
    if not found:
        raise AccelError(f"{pod} has no workers; gcloud reports its state as {state or 'unknown'}")
    return found


# Parts of gcloud's standard error (in small letters), and the message for them.
_COMPLAINTS: tuple[tuple[tuple[str, ...], str], ...] = (
    (
        ("active account", "gcloud auth login", "reauthentication", "refreshing your current auth tokens"),
        "gcloud isn't logged in, or the login has expired; log in with: gcloud auth login",
    ),
    (
        ("property [project]", "attribute [project]"),
        "gcloud has no project; set it with: gcloud config set project PROJECT",
    ),
    (
        ("property [compute/zone]", "property [zone]", "attribute [zone]"),
        "the zone isn't set; give --tpu_zone ZONE, or run: gcloud config set compute/zone ZONE",
    ),
)
_ZONE = ("is not found or access is unauthorized", "unknown zone", "invalid value for field 'zone'")
_NAME = ("not_found", "was not found", "notfound")


def complaint(answer: Answer, pod: Pod) -> str:
    """Return one sentence for gcloud's error with what to do about it, or gcloud's own last line."""
    text = answer.err.lower()
    for needles, sentence in _COMPLAINTS:
        if any(needle in text for needle in needles):
            return sentence
    if any(needle in text for needle in _ZONE):
        return (
            f"gcloud doesn't find zone {pod.zone} ({pod.zone_origin}), or has no access to it; list the zones with: "
            "gcloud compute zones list"
        )
    if any(needle in text for needle in _NAME):
        what = "compute instances" if pod.vms else "compute tpus tpu-vm"
        origins = pod.name_origin + (f", {pod.zone_origin}" if pod.zone else "")
        return f"gcloud doesn't find {pod} ({origins}); list what exists with: gcloud {what} list"
    if answer.status == SSH_FAILED:
        return "ssh can't connect"
    lines = [line for line in answer.err.splitlines() if line.strip()]
    line = next((line for line in lines if line.startswith("ERROR: ")), lines[-1] if lines else "no error message")
    return f"gcloud failed with exit status {answer.status}: {line}"
