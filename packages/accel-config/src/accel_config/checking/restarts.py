"""What decides whether a failed run is started again: the forms of ``restart_policy``."""

from __future__ import annotations

from accel_config.catalogue import Rendezvous
from accel_config.errors import nearest
from accel_config.settings.origin import FILE
from accel_config.showing.wording import describe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_config.settings.resolved import Settings

JUDGE, ALWAYS, NEVER_ON = "judge", "always", "never-on"
POLICIES = (JUDGE, ALWAYS, NEVER_ON)


def read_policy(text: str) -> tuple[str, tuple[str, ...]]:
    """Return the policy's name, and the exceptions after which a run isn't started again.

    They follow ``never-on`` after a blank, a colon or an equals sign, separated by commas.
    """
    text = text.strip()
    if text[: len(NEVER_ON)].lower() == NEVER_ON and text[len(NEVER_ON) : len(NEVER_ON) + 1] in ("", " ", ":", "="):
        return NEVER_ON, tuple(filter(None, (name.strip() for name in text[len(NEVER_ON) + 1 :].split(","))))
    return text.lower(), ()


def policy(settings: Settings) -> str:
    """Return why the restart policy isn't valid."""
    text = settings[Rendezvous].restart_policy
    name, exceptions = read_policy(text)
    where = describe(settings, "restart_policy")
    if name not in POLICIES:
        return f"{where} isn't a policy (judge, always, never-on:EXCEPTION,...){nearest(name, POLICIES)}"
    if name == NEVER_ON and not exceptions:
        return f"{where} names no exception; write never-on:ValueError,KeyError"
    wrong = next((one for one in exceptions if not all(part.isidentifier() for part in one.split("."))), None)
    if wrong is not None:
        return f"{where}: {wrong!r} isn't the name of an exception; write never-on:ValueError,KeyError"
    return ""


def idle(settings: Settings) -> str:
    """Return a note on a restart policy for a run that is never started again."""
    if settings.value("restart_policy").origin.layer >= FILE or settings[Rendezvous].max_restarts:
        return ""  # a file may hold it for other runs
    return f"{describe(settings, 'restart_policy')}: no effect without --max_restarts"
