"""`launch`: a script or a function on several ranks, in one call."""

from __future__ import annotations

import os

from accel_config import CATALOGUE, AccelError, Typed
from accel_config.settings.origin import FLAG, Origin, Value
from accel_config.settings.paradigm import paradigm
from accel_launch.machine.files import node
from accel_launch.machine.host import Host
from accel_launch.planning.making import plan
from accel_launch.running.session import check_timeout, run
from accel_launch.schedulers import settle

TYPE_CHECKING = False
if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any, TypeVar, overload

    from accel_launch.planning.types import Plan
    from accel_launch.running.report.records import Event, Line, Result

    R = TypeVar("R")

    @overload
    def launch(
        target: str | os.PathLike[str],
        *,
        args: Iterable[object] = (),
        kwargs: None = None,
        timeout: float | None = None,
        on_line: Callable[[Line], object] | None = None,
        on_event: Callable[[Event], object] | None = None,
        cancel: threading.Event | None = None,
        **settings: object,
    ) -> Result: ...
    @overload
    def launch(
        target: Callable[..., R],
        *,
        args: Iterable[object] = (),
        kwargs: Mapping[str, object] | None = None,
        timeout: float | None = None,
        on_line: Callable[[Line], object] | None = None,
        on_event: Callable[[Event], object] | None = None,
        cancel: threading.Event | None = None,
        **settings: object,
    ) -> list[R]: ...


SHOWING = ("dry_run", "explain", "slurm", "kubernetes", "submit")
"""Settings that print something instead of running it."""
FOR_SCRIPTS = ("module", "no_python", "python")


def launch(  # noqa: PLR0913
    target: str | os.PathLike[str] | Callable[..., Any],
    *,
    args: Iterable[object] = (),
    kwargs: Mapping[str, object] | None = None,
    timeout: float | None = None,
    on_line: Callable[[Line], object] | None = None,
    on_event: Callable[[Event], object] | None = None,
    cancel: threading.Event | None = None,
    **settings: object,
) -> Result | list[Any]:
    """Run a script or a function on several ranks, as `accelerate launch` does with the same settings, and wait.

    It works in any thread, several at once, and in a notebook. Ranks are new processes, so it doesn't matter whether
    this process uses a GPU already. When this process dies, the run ends.

    A function of a module is imported by the ranks. One of the running program or of a notebook's cell, or a lambda,
    is sent to them by value, with the globals that it uses; that needs cloudpickle (``accel-launch[functions]``).

    Args:
        target: The path of a script, or the name of a module with ``module=True``; or a function, which each rank
            calls.
        args: The script's arguments, or the function's positional ones.
        kwargs: The function's arguments by name.
        timeout: Seconds after which the run is ended: what each rank does is printed and kept in the result's
            ``stacks``, then ranks get SIGTERM, and are killed after ``grace``.
        on_line: Called in the calling thread for each line that a rank prints, instead of showing it here.
        on_event: Called in the calling thread for each rank that starts or ends, and when the run stands still or
            moves again. ``event.stall.groups`` is what the ranks do in a standstill.
        cancel: Set it from another thread to end the run, as after a timeout.
        settings: Settings by the names of their flags, such as ``num_processes=2``. They win over environment
            variables and the config file, as flags do. None means that a setting isn't set here.

    Returns:
        For a script: the result, also if the script fails. Its status is 124 after a timeout, 143 after ``cancel``.
        Nothing is printed about a failure: `report` returns what the command would print.
        For a function: a list of what it returned on each rank of this machine, in the order of the ranks; None for a
        rank that ended by ``sys.exit()``.

    Raises:
        AccelError: a setting isn't valid, the launch can't work on this machine, or the function or its arguments
            can't be sent to the ranks. Nothing was started.
        TypeError: ``timeout`` isn't a number, or ``kwargs`` are given for a script. Nothing was started.
        ValueError: ``timeout`` isn't positive and finite. Nothing was started.
        LaunchError: the function failed on a rank, or its run was ended.
        LaunchTimeout: the run of a function took longer than ``timeout``.
        KeyboardInterrupt: the calling thread was interrupted. The ranks have got SIGINT, then ``grace``, and are
            gone; another interrupt kills them at once.
    """
    check_timeout(timeout)
    values = dict(map(_value, settings, settings.values()))
    ways = {"on_event": on_event, "cancel": cancel, "on_line": on_line, "timeout": timeout}
    if not callable(target):
        if kwargs is not None:
            raise TypeError("kwargs are a function's; the arguments of a script are all in args")
        made = _planned(values, (os.fspath(target), *map(str, args)))
        return _run(made, **ways)
    from accel_launch.calling.functions import Call

    with Call(target, tuple(args), kwargs or {}) as call:
        made = _planned(values, call.script, function=_named(target))
        return call.returned(made, _run(made, **ways))


def _named(function: Callable[..., Any]) -> str:
    return getattr(function, "__qualname__", type(function).__name__)


def _value(name: str, raw: object) -> tuple[str, Value]:
    """Return a setting's name and value."""
    setting = CATALOGUE.named(name)
    origin = Origin(f"launch({name}=)", FLAG)
    return setting.name, Value(None if raw is None else setting.parse(_plain(raw), origin), origin)


def _plain(raw: Any) -> Any:
    """Return a path as text, and a tuple or set as the list that a file would hold."""
    if isinstance(raw, os.PathLike):
        return os.fspath(raw)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    return list(raw) if isinstance(raw, (tuple, set, frozenset)) else raw  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]


def _planned(values: dict[str, Value], script: Sequence[str], *, function: str = "") -> Plan:
    """Return the plan of a launch with these settings.

    Raises:
        AccelError: the launch can't work.
    """
    given = {name: value for name, value in values.items() if value.value is not None}
    host = Host.here()
    settled = settle(Typed(given, tuple(script), False, ()), os.environ, host.probe)
    for name in SHOWING:
        if settled.value(name).value:
            raise AccelError(f"{settled.origin(name)}: it prints something and runs nothing; use accel_launch.plan")
    if settled.value("hosts").value is not None:
        raise AccelError(
            f"{settled.origin('hosts')}: launch starts this machine's ranks; start the command for hosts"
        )
    if settled.value("debug_rank").value is not None and settled.value("debug_port").value is None:
        raise AccelError(f"{settled.origin('debug_rank')}: the terminal is the caller's; start the command instead")
    if settled.value("detach").value:
        raise AccelError(f"{settled.origin('detach')}: launch waits for its run; start the command to leave one")
    if function:
        for name in FOR_SCRIPTS:
            if settled.value(name).value:
                raise AccelError(f"{settled.origin(name)}: it is for scripts, and {function} is a function")
        if paradigm(settled).kind == "XLA" or settled.value("compute_environment").value == "AMAZON_SAGEMAKER":
            raise AccelError(f"{function} is a function: a TPU or a SageMaker job runs scripts only")
    return plan(settled, host, script)


def _run(made: Plan, **ways: Any) -> Result:
    result = run(made, **ways)
    if made.display.report is not None:
        from accel_launch.running.report import rendering

        rendering.save(result, node(), made.display.report)
    return result
