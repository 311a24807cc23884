"""What is known of a failure, from what was seen."""

import json
import resource
import signal
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from accel_launch.plan import Plan
from accel_launch.report import Ending, Seen, as_json, judge, save, text
from tests.conftest import ROOT

SCHEMA = json.loads((ROOT / "docs/report.schema.json").read_text())
TRACE = """\
Traceback (most recent call last):
  File "/u/train.py", line 3, in <module>
    main()
  File "/u/lib/model.py", line 8, in main
    torch.foo()
  File "/env/lib/python3.11/site-packages/torch/x.py", line 99, in foo
    raise RuntimeError("shapes")
RuntimeError: shapes
and a second line
"""


NOTHING = Seen(
    endings=(),
    earlier=(),
    engine=None,
    signalled=0,
    asked=None,
    reader_gone=False,
    guardian=0,
    unstarted=(),
    notes=(),
    tail=str,
    cried=lambda _: 0.0,
    error=str,
    log=lambda _: None,
    killed_for_memory=False,
)


def seen(*endings: Ending, tail: str = "", **more: Any) -> Seen:
    def told(_local: int) -> str:
        return tail

    return NOTHING.replace(endings=endings, tail=told, **more)


def ended(rank: int, status: int) -> Ending:
    return Ending(rank, rank, 100 + rank, status, 1000.0 + rank)


PLAN = Plan("local", (), devices=("GPU 0", "GPU 1"))


def test_the_deepest_line_of_the_users_own_code() -> None:
    result = judge(PLAN, seen(ended(0, 0), ended(1, 256), tail=f"warning\n{TRACE}"))
    assert result.failure is not None
    assert (result.failure.exception, result.failure.where) == ("RuntimeError: shapes", "/u/lib/model.py:8")
    told = text(result, "box")
    assert "rank 1 (local rank 1, pid 101, host box, GPU 1) failed first" in told
    assert "Traceback" not in told
    assert TRACE.rstrip() in text(result, "box", whole=True)


def test_the_mark_that_torch_puts_before_each_line_is_no_part_of_it() -> None:
    marked = "".join(f"[rank1]: {line}\n" for line in TRACE.splitlines())
    result = judge(PLAN, seen(ended(1, 256), tail=marked))
    assert result.failure is not None
    assert (result.failure.exception, result.failure.where) == ("RuntimeError: shapes", "/u/lib/model.py:8")


def test_of_several_tracebacks_the_last_is_told() -> None:
    handled = (
        TRACE.replace("shapes", "earlier")
        + "\nDuring handling of the above exception, another exception occurred:\n\n"
    )
    result = judge(PLAN, seen(ended(1, 256), tail=handled + TRACE))
    assert result.failure is not None
    assert result.failure.exception == "RuntimeError: shapes"


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
        (9, True, "SIGKILL: out of memory, by the counters of its cgroup"),
        (9, False, "SIGKILL: sent by another process"),
        (11, False, "SIGSEGV: it crashed in native code"),
        (15, False, "ended by SIGTERM"),
    ],
)
def test_causes(status: int, memory: bool, cause: str) -> None:
    result = judge(PLAN, seen(ended(0, status), killed_for_memory=memory))
    assert result.failure is not None
    assert cause in result.failure.cause


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({}, 7),
        ({"signalled": signal.SIGTERM}, 143),
        ({"reader_gone": True}, 141),
        ({"signalled": signal.SIGTERM, "reader_gone": True}, 143),
        ({"reader_gone": True, "unwritable": ("standard output can't be written: why",)}, 1),
        ({"guardian": 9}, 137),
        ({"guardian": 256}, 1),
        ({"engine": Ending(0, 0, 1, 0, 0.0)}, 0),
        ({"engine": Ending(0, 0, 1, 256, 0.0)}, 7),
    ],
)
def test_one_status(more: dict[str, Any], status: int) -> None:
    assert judge(PLAN, seen(ended(0, 7 << 8), **more)).status == status


def test_a_run_of_which_nothing_is_known_is_no_success() -> None:
    assert judge(PLAN, seen()).status == 1


def test_an_engine_that_fails_without_a_rank_failing_is_quoted() -> None:
    result = judge(Plan("torchrun", (), hosted=2), seen(engine=Ending(0, 0, 1, 256, 0.0), tail="RendezvousTimeout"))
    assert result.status == 1
    assert "torchrun failed, and no rank that we follow did: exit status 1\nRendezvousTimeout" in text(result, "box")


def test_an_engine_that_is_killed_is_the_failure_and_not_the_ranks_that_are_ended_with_it() -> None:
    engine = Ending(-1, -1, 1, signal.SIGKILL, 999.5)
    for ranks in ((ended(0, 15), ended(1, 15)), (ended(0, 256), ended(1, 15))):
        result = judge(Plan("torchrun", (), hosted=2), seen(*ranks, engine=engine))
        assert (result.status, result.failure, result.at) == (137, None, 999.5)
        assert "torchrun was killed, and with it its ranks were ended: ended by SIGKILL: sent by" in text(
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
    engine = Ending(-1, -1, 1, status, at)
    result = judge(Plan("torchrun", (), hosted=2), seen(ended(0, 7 << 8), ended(1, 15), engine=engine, **more))
    assert "was killed" not in text(result, "box")
    assert (result.failure is None) == bool(more)


def test_a_guardian_that_dies_dies_before_its_ranks() -> None:
    """Whose peers on other machines may have complained by the time that we hear of it."""
    result = judge(PLAN, seen(ended(0, 9), guardian=9, asked=1000.0))
    assert (result.at, result.failure) == (999.5, None)


@pytest.mark.parametrize("endings", [(ended(0, 0),), (ended(1, 9), ended(0, 15)), ()])
def test_json_keeps_to_its_schema(endings: tuple[Ending, ...]) -> None:
    jsonschema.validate(json.loads(as_json(judge(PLAN, seen(*endings, tail=TRACE)), "box")), SCHEMA)


def test_the_report_is_short_with_many_ranks() -> None:
    told = text(judge(PLAN, seen(ended(3, 256), *(ended(rank, 15) for rank in range(64) if rank != 3))), "box")
    assert "ended because of it: ranks 0-2, 4-63" in told
    assert len(told.splitlines()) <= 15


def test_the_report_is_short_with_a_long_exception() -> None:
    def error(_local: int) -> str:
        return json.dumps({"message": {"message": "RuntimeError: " + "wide " * 999 + "\n" + "high\n" * 99}})

    told = text(judge(PLAN, seen(ended(1, 256), error=error)), "box")
    assert "exception: RuntimeError: wide wide" in told
    assert "high" not in told
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
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))  # as on a disk that is full
    try:
        with pytest.raises(OSError, match="File too large"):
            save(result, "box", str(path))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_text() == "the last run's"
    assert list(tmp_path.iterdir()) == [path]
    save(result, "box", str(path))
    assert json.loads(path.read_text())["status"] == 1
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("raised", "exception"), [(999.5, ""), (1009.5, "RuntimeError: shapes")])
def test_what_an_earlier_attempt_said_is_not_this_ones(raised: float, exception: str) -> None:
    def cried(_local: int) -> float:
        return raised

    last = Ending(0, 0, 100, int(signal.SIGTERM), 1010.0)
    tail = TRACE.replace("\nand a second line", "")
    found = judge(PLAN, seen(last, tail=tail, cried=cried, earlier=((ended(0, 256),),)))
    assert found.failure is not None
    assert found.failure.exception == exception
    assert (found.failure.cause == "ended by SIGTERM") == (not exception)
