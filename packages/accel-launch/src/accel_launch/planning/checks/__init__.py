"""Refusals before anything starts: a run that can't work, with the origin of each setting that is to blame.

Each module has one topic. `combinations` needs no facts of this machine; `arrangement` does.
"""

from __future__ import annotations

from accel_config.catalogue import Output, Precision, Scheduler
from accel_config.catalogue.parallel import in_force
from accel_config.checking import rules
from accel_config.errors import AccelError
from accel_config.settings.origin import FLAG
from accel_config.settings.paradigm import SHARDED, sagemaker
from accel_config.settings.readers import natural
from accel_config.showing.wording import describe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_config.settings.resolved import Settings
    from accel_launch.machine.host import Host
    from accel_launch.planning.findings import Findings
    from accel_launch.planning.layout import Layout


def combinations(settings: Settings, findings: Findings) -> None:
    """Check the settings against each other.

    Raises:
        AccelError: some can't work together; the message names each with its origin, and the way out.
    """
    broken = rules.broken(settings)
    if broken:
        raise AccelError(*broken)
    findings.notes += rules.hints(settings)


def arrangement(settings: Settings, host: Host, layout: Layout, findings: Findings) -> None:
    """Check the libraries that the run needs, and the sizes over which its ranks are divided.

    The libraries and devices of a SageMaker job aren't known here.

    Raises:
        AccelError: a library is missing, or the ranks don't fit the sizes.
    """
    if sagemaker(settings):
        return
    _hidden(settings, layout, findings)
    _of_no_job(settings, findings)
    if layout.kind in SHARDED or settings[Precision].mixed_precision == "fp8":
        from accel_launch.planning.checks import libraries

        libraries.check(settings, host, layout, findings)
    if not layout.devices and (layout.kind in SHARDED or settings[Precision].mixed_precision in ("fp16", "fp8")):
        from accel_launch.planning.checks import on_cpu

        on_cpu.check(settings, layout, findings)
    if layout.kind == "MEGATRON_LM" or in_force(settings):
        from accel_launch.planning.checks import sizes

        sizes.check(settings, layout, findings)


def _hidden(settings: Settings, layout: Layout, findings: Findings) -> None:
    """Note local ranks to show that this machine hasn't: a number too high hides all output."""
    numbers = {natural(word.strip()) for word in (settings[Output].filter_ranks or "0").split(",")}
    shown = {number for number in numbers if number is not None}  # what isn't a number is refused elsewhere
    absent = sorted(rank for rank in shown if rank >= layout.local)
    if absent:
        nothing = ", so no output is shown" if len(absent) == len(shown) else ""
        lacks = f"this machine has no local rank {', '.join(map(str, absent))}{nothing}"
        findings.notes.append(f"{describe(settings, 'filter_ranks')}: {lacks}")


def _of_no_job(settings: Settings, findings: Findings) -> None:
    """Note flags that describe a job, where none is printed. In a file or a variable they may be for another time."""
    typed = [one.name for one in Scheduler.settings if one.name.startswith("job_")]
    typed = [name for name in typed if settings.value(name).origin.layer == FLAG]
    if typed:
        findings.notes.append(
            f"{describe(settings, *typed)}: without effect, since neither --slurm nor --kubernetes is given"
        )
