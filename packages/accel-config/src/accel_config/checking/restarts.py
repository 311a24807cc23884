"""What decides whether a failed run is started again: the forms of ``restart_policy``."""

from __future__ import annotations

import builtins
import difflib

from accel_config.catalogue import Rendezvous
from accel_config.errors import nearest
from accel_config.settings.origin import FILE
from accel_config.showing.wording import describe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_config.settings.resolved import Settings

JUDGE, ALWAYS, NEVER_ON = "judge", "always", "never-on"
ALIKE = 0.85  # how much a name resembles one that it may have been meant for; libraries' names resemble others less
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


def unknown(settings: Settings) -> str:
    """Return a note on a name that is nearly that of a built-in exception; any other may be a library's."""
    _name, exceptions = read_policy(settings[Rendezvous].restart_policy)
    known = [name for name, one in vars(builtins).items() if isinstance(one, type) and issubclass(one, BaseException)]
    for one in exceptions:
        close = () if "." in one or one in known else difflib.get_close_matches(one, known, n=1, cutoff=ALIKE)
        if close:
            where = describe(settings, "restart_policy")
            return f"{where}: {one} isn't a built-in exception. Did you mean {close[0]!r}?"
    return ""


def idle(settings: Settings) -> str:
    """Return a note on a restart policy for a run that is never started again."""
    if settings.value("restart_policy").origin.layer >= FILE or settings[Rendezvous].max_restarts:
        return ""  # a file may hold it for other runs
    return f"{describe(settings, 'restart_policy')}: no effect without --max_restarts"
