"""Settings that can't work together, and settings without effect: what is known without looking at the machine."""

from __future__ import annotations

from accel_config.catalogue import Launcher, Rendezvous, Resources
from accel_config.catalogue.parallel import in_force
from accel_config.checking import counts, rendezvous, sharding
from accel_config.settings.origin import FILE
from accel_config.settings.paradigm import paradigm
from accel_config.showing.wording import describe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from accel_config.settings.resolved import Settings


def broken(settings: Settings) -> list[str]:
    """Return a message for each combination that can't work; it names the settings with their origins."""
    return [message for rule in RULES if (message := rule(settings))]


def hints(settings: Settings) -> list[str]:
    """Return a line for each setting that has no effect together with the others."""
    messages = [*(message for hint in HINTS if (message := hint(settings))), *_idle(settings)]
    return [line for message in messages for line in message.split("\n")]


def _module_without_python(settings: Settings) -> str:
    if settings[Launcher].module and settings[Launcher].no_python:
        return f"{describe(settings, 'module', 'no_python')}: a module needs Python; set only one of them"
    return ""


def _contradicts_unwatched(settings: Settings) -> int:
    """Return how much stronger the wish is that something follows a standstill than that nobody watches for one."""
    launcher = settings[Launcher]
    if launcher.stall_after or launcher.stall_action == "note":
        return -1
    return settings.value("stall_after").origin.layer - settings.value("stall_action").origin.layer


def _contradicting_stalls(settings: Settings) -> str:
    if _contradicts_unwatched(settings) == 0:
        both = describe(settings, "stall_after", "stall_action")
        return f"{both}: nobody watches a run at 0, so nothing can follow; leave one of them out, or give a time"
    return ""


def _idle_stall_action(settings: Settings) -> str:
    if _contradicts_unwatched(settings) > 0:
        why = f"since {describe(settings, 'stall_after')} switches the watch off; give --stall_after 5m"
        return f"{describe(settings, 'stall_action')}: no effect, {why}"
    return ""  # a file may hold the action for other runs


def _restart_policy(settings: Settings) -> str:
    if settings[Rendezvous].restart_policy == "judge":
        return ""
    from accel_config.checking import restarts

    return restarts.policy(settings)


def _idle_policy(settings: Settings) -> str:
    if not settings.given("restart_policy"):
        return ""
    from accel_config.checking import restarts

    return "\n".join(filter(None, (restarts.idle(settings), restarts.unknown(settings))))


def _binding(settings: Settings) -> str:
    if not settings.given("bind"):
        return ""
    from accel_config.checking import binding

    return binding.invalid(settings) or binding.contradicting(settings)


def _ranks(settings: Settings) -> str:
    if not (settings[Launcher].wrap or settings[Launcher].rank_env):
        return ""
    from accel_config.checking import ranks

    return ranks.wrap(settings) or ranks.rank_env(settings)


def _debugging(settings: Settings) -> str:
    if settings[Launcher].debug_rank is None and settings[Launcher].debug_port is None:
        return ""
    from accel_config.checking import debugging

    return debugging.invalid(settings) or debugging.contradicting(settings)


def _parallelism(settings: Settings) -> str:
    if not in_force(settings):
        return ""
    from accel_config.checking import parallelism

    return parallelism.combination(settings)


def _world(settings: Settings) -> str:
    total = settings[Resources].num_processes
    if total is None or not (in_force(settings) or paradigm(settings).kind == "MEGATRON_LM"):
        return ""
    from accel_config.checking import parallelism

    return parallelism.world(settings, total)


def _idle(settings: Settings) -> list[str]:
    """Name the flags and variables of sections that aren't in use; a file may hold all sections."""
    idle: list[str] = []
    for section in settings.catalogue.sections:
        if section.active is None or section.active(settings):
            continue
        names = [one.name for one in section.settings if settings.given(one.name)]
        names = [name for name in names if settings.value(name).origin.layer < FILE]
        if names:
            given = ", ".join(f"{name} ({settings.origin(name)})" for name in names)
            idle.append(f"{given}: no effect, since {section.title} isn't in use")
    return idle


RULES: tuple[Callable[[Settings], str], ...] = (
    counts.uneven,
    counts.crowded,
    rendezvous.rank,
    rendezvous.address,
    rendezvous.backend,
    counts.elastic,
    _restart_policy,
    _ranks,
    _debugging,
    _module_without_python,
    _contradicting_stalls,
    _binding,
    counts.one_process_on_many,
    counts.one_id_on_many,
    counts.unread_idle,
    sharding.unsynced_loading,
    _parallelism,
    _world,
    sharding.checkpoint_offload,
    sharding.local_state_dict,
    sharding.beside_json,
)
HINTS: tuple[Callable[[Settings], str], ...] = (
    sharding.zero3_only,
    _idle_policy,
    _idle_stall_action,
    counts.unneeded_wait,
    lambda settings: paradigm(settings).note,
)
