"""The declaration of an engine: its planning function, and the settings that it honors or ignores.

The launcher derives from it which of the settings that a user gave have no effect, and prints a note about each.
"""

from __future__ import annotations

from accel_config.catalogue import Hardware, Launcher, Mpi, Output, Paradigms, SageMaker, Scheduler
from accel_config.record import Record
from accel_config.settings.origin import SCHEDULER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from accel_config.settings.declaration import Section, Setting
    from accel_config.settings.origin import Value
    from accel_config.settings.resolved import Settings
    from accel_launch.engines.context import LaunchContext
    from accel_launch.planning.types import Plan

    Names = tuple[str | type[Section], ...]
    """Names of settings; a section stands for all of its settings."""

# How ranks are started: how many, on which devices, with which priority and threads, and what is for some of them.
RANKS = (
    *("num_machines", "num_processes", "nproc_per_node", "gpu_ids"),
    *("num_cpu_threads_per_process", "nice", "wrap", "rank_env"),
)
# A rank under a debugger: engines whose ranks are this machine's, below this launcher.
DEBUGGING = ("debug_rank", "debug_port")
# Where ranks meet.
ADDRESS = ("main_process_ip", "main_process_port")
# How machines meet that are each launched on.
MEETING = (
    *("rdzv_backend", "same_network", "run_id", "join_timeout"),
    *("lifeline_port", "lifeline_timeout", "lifeline_secret_file", "allow_difference"),
)
# Torch's elastic agent, and the launchers that supervise it.
AGENT = (*MEETING, "rdzv_conf", "monitor_interval", "max_restarts")

# These take effect before or around every engine: they decide what is planned, printed and supervised. A new setting
# of these sections is one of them, unless it is in a list above.
BY_PLANNING: Names = (
    *(Launcher, Hardware, Paradigms, Scheduler, Output),
    *("tpu_cluster", "deepspeed_multinode_launcher", "role"),
    "mpirun_ccl",  # deprecated, which reading it has noted
    *("command_file", "commands"),  # for `accelerate tpu-config`
)
# These only some engines honor; the reason is for all the others.
SPECIAL: Mapping[str, Names] = {
    "only a SageMaker job uses it": (SageMaker,),
    "only mpirun uses it (--engine mpi)": tuple(one.name for one in Mpi.settings if one.name != "mpirun_ccl"),
    "only DeepSpeed's own launcher uses it (--engine deepspeed)": (
        *("deepspeed_hostfile", "deepspeed_exclusion_filter", "deepspeed_inclusion_filter"),
    ),
    "only a TPU uses it": ("main_training_function", "tpu_spmd", "downcast_bf16"),
    "only a TPU pod uses it (--tpu_cluster)": ("tpu_name", "tpu_zone", "tpu_use_sudo", "vm"),
    "only a TPU pod (--tpu_cluster) and the machines of --hosts get it": ("env",),
    "only the command `accelerate launch` uses it": ("hosts",),
    "only a launch with --hosts uses it": ("sync", "sync_to", "sync_limit", "sync_launcher", "check_network"),
    "only the engines local and torchrun start ranks again": ("max_restarts",),
    "only the engines exec, local, torchrun, mpi and slurm bind ranks": ("bind",),
    "only the engines exec, local, torchrun and mpi have ranks under a debugger": DEBUGGING,
    "only torch's agent uses it (--engine torchrun)": AGENT,
    "only restarts on one machine use it (--engine local)": ("restart_policy",),
}


class Engine(Record):
    """An engine: how it plans, and which settings it honors.

    ``ignores`` decides first, then ``honors``, then the lists that hold for every engine: `SPECIAL`, variables of the
    script, `BY_PLANNING`. A setting that nothing names has no effect.
    """

    make: Callable[[LaunchContext], Plan]
    """Return the plan, or raise AccelError for a run that the engine can't start."""
    honors: Names = ()
    """Settings that the engine acts on, or rejects."""
    ignores: Mapping[str, Names] = {}
    """Settings that have no effect under this engine, by the reason that the user reads."""
    exports: bool = True
    """Whether its ranks get `LaunchContext.variables`, which hold every setting that is a variable of the script."""
    remote_script: bool = False
    """Whether the script is on the machines that run it, and perhaps not on this one."""
    unbound: Callable[[LaunchContext], str] | None = None
    """Return why ranks can't be bound in this run, or nothing; for an engine that honors ``bind``."""
    remote_devices: bool = False
    """Whether the run is a job of a service, so that this machine's devices and cores don't matter."""

    @property
    def named_settings(self) -> list[str]:
        """The names of settings that the declaration holds; sections aside."""
        every = (*self.honors, *(name for names in self.ignores.values() for name in names))
        return [name for name in every if isinstance(name, str)]

    def reason(self, setting: Setting) -> str | None:
        """Return why a setting has no effect under this engine: ``""`` if it has one, None if nothing declares it."""
        own = _reason(setting, self.ignores)
        if own is not None:
            return own
        if _named(setting, self.honors):
            return ""
        special = _reason(setting, SPECIAL)
        if special is not None:
            return special
        if setting.env and self.exports:
            return ""
        return "" if _named(setting, BY_PLANNING) and setting.name not in (*RANKS, *ADDRESS, *AGENT) else None

    def dropped(self, name: str, settings: Settings, ignored: Mapping[str, str]) -> Iterator[str]:
        """Yield a note about each setting that a flag or a variable gives and that has no effect.

        Settings from a config file get none, because a file may hold those of several engines. Nor do sections that
        aren't in use: `accel_config.checking.rules.hints` has a note about them.

        Args:
            name: The engine's name.
            settings: The settings of this launch.
            ignored: The reasons that planning has found for this run (`LaunchContext.ignore`), by setting.
        """
        for setting, value in settings:
            if value.origin.layer >= SCHEDULER:
                continue
            active = setting.section.active
            if active is not None and not active(settings):
                continue
            reason = ignored.get(setting.name, self.reason(setting))
            if reason is None:
                reason = f"the engine {name} doesn't use it"
            if reason:
                yield f"{_described(setting, value)} has no effect: {reason}"


def _reason(setting: Setting, reasons: Mapping[str, Names]) -> str | None:
    return next((reason for reason, names in reasons.items() if _named(setting, names)), None)


def _named(setting: Setting, names: Names) -> bool:
    return setting.name in names or setting.section in names


def _described(setting: Setting, value: Value) -> str:
    """Return the setting with its value, unless that is secret, and its origin."""
    from accel_config.showing.masking import shown

    text = shown(setting, value)
    if isinstance(text, list):
        text = ",".join(map(str, text))  # pyright: ignore[reportUnknownArgumentType]
    return f"{setting.name} {str(text).lower() if isinstance(text, bool) else text} ({value.origin})"
