"""What is known of a failure, from what was seen."""

import json
import resource
import signal
from importlib import import_module
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from accel_config import AccelError
from accel_launch.inspecting.groups import Group
from accel_launch.planning.types import Command, Plan
from accel_launch.running.onlookers.stall.telling import Stall
from accel_launch.running.report.causes import cause
from accel_launch.running.report.judging import judge
from accel_launch.running.report.observation import Observation, Output
from accel_launch.running.report.records import Ending, Result
from accel_launch.running.report.rendering import as_json, save, text
from accel_launch.running.report.timeout import Timeout
from accel_launch.running.restarting.cause import cause_of
from tests.conftest import ROOT

SCHEMA = json.loads((ROOT / "docs/report.schema.json").read_text())
TRACE = """\
Traceback (most recent call last):
  File "/u/train.py", line 3, in <module>
    main()
  File "/u/lib/model.py", line 8, in main
    torch.foo()
  File "/env/lib/python3.11/site-packages/torch/x.py", line 99, in foo
    raise RuntimeError(text)
RuntimeError: shapes
and a second line
"""
MESSAGE = "RuntimeError: shapes\nand a second line"


NOTHING = Observation(
    endings=(),
    earlier=(),
    engine=None,
    signalled=0,
    asked=None,
    reader_gone=False,
    guardian=None,
    unstarted=(),
    notes=(),
    output=lambda _: Output(),
    error=str,
    log=lambda _: None,
    killed_for_memory=False,
)


def seen(*endings: Ending, tail: str = "", raised: float = 1000.0, **more: Any) -> Observation:
    def told(_local: int) -> Output:
        return Output(tail, raised, raised)

    return NOTHING.replace(endings=endings, output=told, **more)


def ended(rank: int, status: int) -> Ending:
    return Ending.from_wait_status(rank, rank, 100 + rank, status, 1000.0 + rank)


def alone(status: int, at: float = 0.0) -> Ending:
    """The end of an engine or a guardian."""
    return Ending.from_wait_status(-1, -1, 1, status, at)


PLAN = Plan("local", (), devices=("GPU 0", "GPU 1"))


def test_the_deepest_line_of_the_users_own_code() -> None:
    result = judge(PLAN, seen(ended(0, 0), ended(1, 256), tail=f"warning\n{TRACE}"))
    assert result.failure is not None
    assert (result.failure.exception, result.failure.where) == (MESSAGE, "/u/lib/model.py:8")
    told = text(result, "box")
    assert "rank 1 (local rank 1, pid 101, host box, GPU 1) failed first" in told
    assert "Traceback" not in told
    assert TRACE.rstrip() in text(result, "box", whole=True)


def test_the_mark_that_torch_puts_before_each_line_is_no_part_of_it() -> None:
    marked = "".join(f"[rank1]: {line}\n" for line in TRACE.splitlines())
    result = judge(PLAN, seen(ended(1, 256), tail=marked))
    assert result.failure is not None
    assert (result.failure.exception, result.failure.where) == (MESSAGE, "/u/lib/model.py:8")


def test_of_several_tracebacks_the_last_is_told() -> None:
    handled = (
        TRACE.replace("shapes", "earlier")
        + "\nDuring handling of the above exception, another exception occurred:\n\n"
    )
    result = judge(PLAN, seen(ended(1, 256), tail=handled + TRACE))
    assert result.failure is not None
    assert result.failure.exception == MESSAGE


@pytest.mark.parametrize(
    "exception",
    ["SyntaxError: invalid syntax", "IndentationError: unexpected indent", "TabError: inconsistent use of"],
)
def test_a_script_that_cant_be_compiled_has_a_place(exception: str) -> None:
    tail = f'starting\n  File "/u/train.py", line 2\n    def f(:\n          ^\n{exception}\n'
    result = judge(PLAN, seen(ended(1, 256), tail=tail))
    assert result.failure is not None
    assert (result.failure.exception, result.failure.where) == (exception, "/u/train.py:2")


def test_what_only_looks_like_it_has_none() -> None:
    place = '  File "/u/train.py", line 2\n'
    for tail in (place, "\nSyntaxError: so", f"{place}SyntaxErrors: 3\n", f"{place}    f(\nwell\nSyntaxError: so\n"):
        result = judge(PLAN, seen(ended(1, 256), tail=tail))
        assert result.failure is not None
        assert (result.failure.exception, result.failure.where) == ("", "")


@pytest.mark.parametrize(
    ("status", "memory", "cause"),
    [
        (7 << 8, False, "exit status 7"),
        (9, True, "terminated by SIGKILL: out of memory (killed by the OOM killer)"),
        (9, False, "terminated by SIGKILL: sent by another process, or by the OOM killer (see dmesg)"),
        (11, False, "terminated by SIGSEGV: a crash in native code"),
        (15, False, "terminated by SIGTERM"),
    ],
)
def test_causes(status: int, memory: bool, cause: str) -> None:
    result = judge(PLAN, seen(ended(0, status), killed_for_memory=memory))
    assert result.failure is not None
    assert cause in result.failure.cause
    tooled = judge(PLAN.replace(commands=(Command((), {}, tooled=True),)), seen(ended(0, status))).failure
    assert tooled is not None
    assert ("process, by the command of --wrap, or by the OOM killer" in tooled.cause) == (status == signal.SIGKILL)


@pytest.mark.parametrize(
    ("wait_status", "status", "number", "how"),
    [
        (0, 0, 0, "exit status 0"),
        (3 << 8, 3, 0, "exit status 3"),
        (143 << 8, 143, 0, "exit status 143"),
        (255 << 8, 255, 0, "exit status 255"),
        (15, 143, 15, "terminated by SIGTERM"),
        (11 | 0x80, 139, 11, "terminated by SIGSEGV"),  # with a core dump
        (60, 188, 60, "terminated by signal 60"),
    ],
)
def test_an_endings_status_is_a_shells(wait_status: int, status: int, number: int, how: str) -> None:
    ending = Ending.from_wait_status(0, 0, 1, wait_status, 0.0)
    assert (ending.status, ending.signal, ending.how) == (status, number, how)


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({}, 7),
        ({"signalled": signal.SIGTERM}, 143),
        ({"reader_gone": True}, 141),
        ({"signalled": signal.SIGTERM, "reader_gone": True}, 143),
        ({"reader_gone": True, "unwritable": ("standard output can't be written: why",)}, 1),
        ({"guardian": alone(9)}, 137),
        ({"guardian": alone(256)}, 1),
        ({"engine": alone(0)}, 7),  # the record has the rank
        ({"engine": alone(256)}, 7),
    ],
)
def test_one_status(more: dict[str, Any], status: int) -> None:
    assert judge(PLAN, seen(ended(0, 7 << 8), **more)).status == status


def test_a_run_of_which_nothing_is_known_is_no_success() -> None:
    assert judge(PLAN, seen()).status == 1
    both = PLAN.replace(commands=(Command((), {}), Command((), {})))
    assert judge(both, seen(ended(0, 0))).status == 1  # rank 1 hasn't started
    assert judge(PLAN, seen(ended(0, 0), unstarted=("rank 1 couldn't be started: why",))).status == 1


def test_an_engine_that_fails_without_a_rank_failing_is_quoted() -> None:
    result = judge(Plan("torchrun", (), hosted=2), seen(engine=alone(256), tail="RendezvousTimeout"))
    assert result.status == 1
    assert "torchrun failed, but none of its ranks did: exit status 1\nRendezvousTimeout" in text(result, "box")


def test_an_engine_that_is_killed_is_the_failure_and_not_the_ranks_that_are_ended_with_it() -> None:
    engine = alone(signal.SIGKILL, 999.5)
    for ranks in ((ended(0, 15), ended(1, 15)), (ended(0, 256), ended(1, 15))):
        result = judge(Plan("torchrun", (), hosted=2), seen(*ranks, engine=engine))
        assert (result.status, result.failure, result.at) == (137, None, 999.5)
        assert "torchrun was killed, and its ranks were terminated with it: terminated by SIGKILL: sent by" in text(
            result, "box"
        )


@pytest.mark.parametrize(
    ("status", "at", "more"),
    [
        (signal.SIGKILL, 1000.5, {}),  # when a rank had failed
        (256, 999.5, {}),
        (signal.SIGKILL, 999.5, {"signalled": 15}),
        (signal.SIGKILL, 999.5, {"reader_gone": True}),
    ],
)
def test_otherwise_it_is_a_rank_or_who_asked(status: int, at: float, more: dict[str, Any]) -> None:
    engine = alone(status, at)
    result = judge(Plan("torchrun", (), hosted=2), seen(ended(0, 7 << 8), ended(1, 15), engine=engine, **more))
    assert "was killed" not in text(result, "box")
    assert (result.failure is None) == bool(more)


def test_a_guardian_that_dies_dies_before_its_ranks() -> None:
    """Whose peers on other machines may have complained by the time that we hear of it."""
    result = judge(PLAN, seen(ended(0, 9), guardian=alone(9), asked=1000.0))
    assert (result.at, result.failure) == (999.5, None)


@pytest.mark.parametrize("endings", [(ended(0, 0),), (ended(1, 9), ended(0, 15)), ()])
def test_json_keeps_to_its_schema(endings: tuple[Ending, ...]) -> None:
    jsonschema.validate(json.loads(as_json(judge(PLAN, seen(*endings, tail=TRACE)), "box")), SCHEMA)


def test_the_report_is_short_with_many_ranks() -> None:
    told = text(judge(PLAN, seen(ended(3, 256), *(ended(rank, 15) for rank in range(64) if rank != 3))), "box")
    assert "terminated as a result: ranks 0-2, 4-63" in told
    assert len(told.splitlines()) <= 15


def test_the_report_is_short_with_a_long_exception() -> None:
    def error(_local: int) -> str:
        return json.dumps({"message": {"message": "RuntimeError: " + "wide " * 999 + "\n" + "high\n" * 99}})

    told = text(judge(PLAN, seen(ended(1, 256), error=error)), "box")
    assert "exception: RuntimeError: wide wide" in told
    assert " more lines)\n    high\n" in told
    assert len(told.splitlines()) <= 15
    assert len(told) < 1000


def test_json_has_what_is_known() -> None:
    def log(local: int) -> str:
        return f"/logs/{local}"

    told = json.loads(as_json(judge(PLAN, seen(ended(1, 9), log=log)), "box"))
    failure = told["failure"]
    assert (failure["host"], failure["device"], failure["log"]) == ("box", "GPU 1", "/logs/1")
    assert (failure["signal"], failure["exit_status"], failure["time"]) == ("SIGKILL", None, 1001.0)


def test_a_report_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    result = judge(PLAN, seen(ended(1, 256), tail=TRACE))
    path.write_text("the last run's")
    import_module("accel_config.writing.storage")  # below the limit Python would write half of its bytecode
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))  # as on a disk that is full
    try:
        with pytest.raises(AccelError, match="File too large"):
            save(result, "box", str(path))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_text() == "the last run's"
    assert list(tmp_path.iterdir()) == [path]
    save(result, "box", str(path))
    assert json.loads(path.read_text())["status"] == 1
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("raised", "exception"), [(999.5, ""), (1009.5, MESSAGE)])
def test_what_an_earlier_attempt_said_is_not_this_ones(raised: float, exception: str) -> None:
    last = Ending(0, 0, 100, 143, signal.SIGTERM, 1010.0)
    marked = "".join(f"[rank0]: {line}\n" for line in TRACE.splitlines())
    found = judge(PLAN, seen(last, tail=marked, raised=raised, earlier=((ended(0, 256),),)))
    assert found.failure is not None
    assert found.failure.exception == exception
    assert (found.failure.cause == "terminated by SIGTERM") == (not exception)


@pytest.mark.parametrize("mark", ["", "[default0]:", "[worker0]: "])
def test_a_rank_that_was_terminated_after_a_traceback_of_which_nothing_is_certain(mark: str) -> None:
    """As by the launcher of another machine, whose rank has failed: this one may have handled it and worked on."""
    last = Ending(0, 0, 100, 143, signal.SIGTERM, 1005.0)
    tail = "".join(f"{mark}{line}\n" for line in TRACE.splitlines()[:-1])
    found = judge(PLAN, seen(last, tail=tail))
    assert found.failure is not None
    assert (found.failure.exception, found.failure.cause) == ("", "terminated by SIGTERM")
    assert (found.failure.at, found.also_raised) == (1005.0, ())


@pytest.mark.parametrize("endings", [(), (ended(2, 15),)])
def test_a_standstill_blames_the_stuck_rank_though_nobody_saw_its_end(endings: tuple[Ending, ...]) -> None:
    groups = (Group((1,), "train.py:9 f > sleep"), Group((0, 2), "train.py:8 f > torch barrier, waiting"))
    kinds = {0: "waiting", 1: "still", 2: "waiting"}
    shown = {"ended": None, "process": None, "children": []}
    stacks = tuple({"rank": rank, "local_rank": rank, "pid": 100 + rank, **shown} for rank in kinds)
    stall = Stall(1000.0, 700.0, (0, 1, 2), groups, kinds, odd=(1,), stacks=stacks)
    plan = Plan("mpi", (Command(("mpirun",), {}),), hosted=3)
    result = judge(plan, seen(*endings, engine=alone(15, 1001.0), stalls=(stall,), stalled=True))
    assert result.failure is not None
    assert (result.status, result.failure.ending.rank, result.failure.ending.pid) == (124, 1, 101)
    assert result.failure.cause == "standing still for 5 min: train.py:9 f > sleep"
    assert (result.endings, result.problems) == (endings, ())
    jsonschema.validate(json.loads(as_json(result, "h")), SCHEMA)


WAITS = Group((0, 2, 4), "train.py:8 f > torch barrier, waiting", collective=True)
LOADS = Group((1, 3), "train.py:9 load > sleep", file="/u/train.py")


def stood(*groups: Group, odd: tuple[int, ...] = ()) -> Result:
    """A run that a standstill has ended."""
    kinds = {rank: "waiting" if group.collective else "still" for group in groups for rank in group.ranks}
    stall = Stall(1000.0, 700.0, tuple(sorted(kinds)), groups, kinds, odd=odd)
    return judge(PLAN, seen(*(ended(rank, 15) for rank in sorted(kinds)), stalls=(stall,), stalled=True))


@pytest.mark.parametrize(
    ("groups", "odd", "who", "victims"),
    [
        ((LOADS, WAITS), (1, 3), "rank 1: ", "ranks 0, 2, 4"),
        (
            (LOADS.replace(ranks=(1,)), LOADS.replace(ranks=(3,), doing="x.py:1"), WAITS),
            (1, 3),
            "rank 1: ",
            "ranks 0, 2, 4",
        ),
        ((LOADS.replace(ranks=(1,)), WAITS), (1,), "rank 1: ", "ranks 0, 2, 4"),
        ((LOADS,), (), "", "ranks 1, 3"),
        ((WAITS, WAITS.replace(ranks=(1, 3), doing="train.py:7")), (), "", "ranks 0-4"),
        ((LOADS, LOADS.replace(ranks=(0, 2), doing="x.py:1")), (), "", "ranks 0-3"),
        (
            (LOADS.replace(ranks=(1,), doing="all ranks are in the same place/x.py:1"), WAITS),
            (1,),
            "rank 1: ",
            "ranks 0, 2, 4",
        ),
    ],
)
def test_who_is_stuck_is_no_result_of_it_and_who_is_not_to_blame_is_not_named(
    groups: tuple[Group, ...], odd: tuple[int, ...], who: str, victims: str
) -> None:
    result = stood(*groups, odd=odd)
    told = text(result, "box")
    assert f"  terminated as a result: {victims}\n" in told
    assert ("accel: rank 1 (" in told) == bool(who)
    assert cause(result).startswith(f"{who}standing still for 5 min: ")
    jsonschema.validate(json.loads(as_json(result, "box")), SCHEMA)


def test_ranks_that_did_not_come_are_no_result_of_it() -> None:
    timeout = Timeout(0, "recv", 4.0, missing=(1, 3))
    result = judge(PLAN, seen(*(ended(rank, 15) for rank in (1, 0, 2, 3)))).replace(collective_timeout=timeout)
    assert "  terminated as a result: ranks 0, 2\n" in text(result, "box")


def test_who_had_ended_well_is_told_where_another_one_raises() -> None:
    told = text(
        judge(PLAN, seen(ended(0, 0), ended(1, 0), ended(2, 256), ended(3, 0), tail=TRACE, raised=1001.5)), "box"
    )
    assert "  had ended well: ranks 0-1\n" in told


def test_the_same_standstill_is_the_same_cause_whichever_ranks_it_has() -> None:
    """Also if there are more of them."""
    one = cause_of(stood(LOADS.replace(ranks=(2,)), WAITS.replace(ranks=(0, 1, 3)), odd=(2,)))
    assert one == cause_of(stood(LOADS, WAITS, odd=(1, 3)))
    assert one != cause_of(stood(LOADS.replace(doing="train.py:9 save > sleep"), WAITS, odd=(1, 3)))
    assert cause_of(stood(LOADS)) == cause_of(stood(LOADS.replace(ranks=(0, 1))))
