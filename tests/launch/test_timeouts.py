"""A run that ends because a rank has waited too long: the one that didn't come is blamed, with the line it is at."""

from __future__ import annotations

import functools
import json
import os
import pickle
import random
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from accel_launch.inspecting.groups import Group
from accel_launch.machine import flight_recorder
from accel_launch.machine.probe import Packages
from accel_launch.running.onlookers.stall.telling import Stall
from accel_launch.running.report import missing
from accel_launch.running.report.evidence import recorder, timeouts
from tests.conftest import Run, needs_torch
from tests.fuzzing import fuzz
from tests.launch.processes import Script, Start, until
from tests.launch.test_report import SCHEMA

ME = "import os, sys, threading, time\nrank = int(os.environ['RANK'])\n"
TWO = ("-q", "--cpu", "--num_processes", "2", "--grace", "1")
THREE = ("-q", "--cpu", "--num_processes", "3", "--grace", "1")
IMPORTED = ("--preload", "torch")  # once for all ranks
GLOO = "[gloo/transport/tcp/unbound_buffer.cc:78] Timed out waiting 4000ms for recv operation to complete"
CLIENTS = "Timed out after 6 seconds waiting for clients. 1/2 clients joined."
CONNECT = "The client socket has timed out after 3000ms while trying to connect to (127.0.0.1, 44289)."
NCCL = (
    "[rank{0}]:[E1128 02:07:08.408271257 ProcessGroupNCCL.cpp:607] [Rank {0}] Watchdog caught collective operation "
    "timeout: WorkNCCL(SeqNum=12, OpType=ALLREDUCE, NumelIn=1, NumelOut=1, Timeout(ms)=600000) ran for 600060 "
    "milliseconds before timing out."
)
BEHIND = (
    "[rank{0}]:[E1128 02:07:08.408271257 ProcessGroupNCCL.cpp:1516] [PG ID 0 PG GUID 0(default_pg) Rank {0}] Received a "
    "dump signal due to a collective timeout from rank 0 and we will try our best to dump the debug info. "
    "Last enqueued NCCL work: {1}, last completed NCCL work: {1}."
)


# Messages.


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"RuntimeError: {GLOO}", ("recv", 4.0, None, ())),
        (NCCL.format(0), ("ALLREDUCE", 600.06, 12, ())),
        (
            (
                "[Rank 7] Watchdog caught collective operation timeout: WorkNCCL(OpType=BROADCAST, TensorShape=[1], "
                "Timeout(ms)=1800000) ran for 1800900 milliseconds before timing out."
            ),
            ("BROADCAST", 1800.9, None, ()),
        ),
        ("[Rank 0]: Rank 1 failed to pass monitoredBarrier in 4000 ms", ("monitoredBarrier", 4.0, None, (1,))),
        ("[Rank 0]: Ranks 1, 2 failed to pass monitoredBarrier in 4000 ms", ("monitoredBarrier", 4.0, None, (1, 2))),
        (
            (
                "Rank 2 successfully reached monitoredBarrier, but received errors while waiting for send/recv from "
                f"rank 0. Please check rank 0 logs for faulty rank.\n Original exception: \n{GLOO}"
            ),
            ("monitoredBarrier", 4.0, None, ()),
        ),
        ("DistStoreError: wait timeout after 4000ms, keys: /a/0//b", ("keys: /a/0//b", 4.0, None, ())),
        (CLIENTS, ("clients", 6.0, None, ())),
        (CONNECT, ("connect", 3.0, None, ())),
    ],
)
def test_what_torch_prints_after_a_wait(text: str, expected: tuple[object, ...]) -> None:
    found = timeouts.complaint(text)
    assert found is not None
    assert (found.operation, found.seconds, found.number, found.missing) == expected


@pytest.mark.parametrize(
    "text", ["", "Connection closed by peer [10.0.0.1]:1234", "requests.Timeout: timed out after 5 s"]
)
def test_what_is_no_such_wait(text: str) -> None:
    assert timeouts.complaint(text) is None


@pytest.mark.parametrize("number", ["9" * 5000, "9" * 19])
def test_numbers_that_are_none(number: str) -> None:
    timeouts.complaint(f"Ranks 1, {number} failed to pass monitoredBarrier in {number} ms")
    timeouts.complaint(NCCL.format(0).replace("12", number).replace("600060", number))
    assert timeouts.enqueued(BEHIND.format(0, number)) is None


# Runs.


def _report(path: Path) -> dict[str, object]:
    found = json.loads(path.read_text())
    jsonschema.validate(found, SCHEMA)
    return found


def test_the_rank_that_does_not_come_is_blamed_although_another_complains_and_dies_at_once(
    accelerate: Run, script: Script, tmp_path: Path
) -> None:
    text = ME + (
        "def rest():\n    time.sleep(1000)\n"
        f"if rank == 1: rest()\ntime.sleep(1)\nprint({GLOO!r}, file=sys.stderr)\ntime.sleep(0.5)\n"
        f"raise RuntimeError({GLOO!r})\n"
    )
    done = accelerate("launch", *TWO, "--report", tmp_path / "report.json", script(text))
    assert done.returncode == 1
    assert "accel: rank 1 (local rank 1, pid" in done.stderr
    waited = "rank 0 timed out after 4 s waiting for it (recv at script1.py:9)"
    cause = f"missing: {waited}; it was at script1.py:4 rest > sleep"
    assert f"  cause: {cause}\n" in done.stderr
    report = _report(tmp_path / "report.json")
    timeout, failure = report["collective_timeout"], report["failure"]
    assert isinstance(timeout, dict)
    assert isinstance(failure, dict)
    assert (timeout["rank"], timeout["missing"], timeout["source"]) == (0, [1], "stacks")
    assert [group["function"] for group in timeout["groups"] if group["ranks"] == [1]] == ["rest"]
    assert (failure["rank"], failure["cause"]) == (1, cause)
    assert timeout["at"] < failure["time"]  # it was terminated afterwards
    assert report["also_raised"] == [] or report["also_raised"][0]["rank"] == 0  # pyright: ignore[reportIndexIssue]


@pytest.mark.parametrize(
    "message", [GLOO, *(pytest.param(each, marks=pytest.mark.exhaustive) for each in (CLIENTS, CONNECT))]
)
def test_the_others_live_on_until_they_are_looked_at_however_fast_one_dies(
    accelerate: Run, script: Script, message: str
) -> None:
    text = ME + (
        "def rest():\n    time.sleep(1000)\n"
        "def die(*raised):\n    sys.__excepthook__(*raised)\n    os._exit(1)\n"
        f"if rank == 1: rest()\nsys.excepthook = die\ntime.sleep(1)\nraise RuntimeError({message!r})\n"
    )
    done = accelerate("launch", *TWO, script(text))
    assert "; it was at script1.py:4 rest > sleep\n" in done.stderr, done.stderr


def test_a_rank_that_fails_of_its_own_is_not_excused_by_another_that_timed_out(
    accelerate: Run, script: Script, tmp_path: Path
) -> None:
    text = ME + f"time.sleep(1 + rank)\nraise RuntimeError({GLOO!r}) if rank else ValueError('mine')\n"
    done = accelerate("launch", *TWO, "--report", tmp_path / "report.json", script(text))
    assert "  exception: ValueError: mine\n" in done.stderr
    assert _report(tmp_path / "report.json")["collective_timeout"] is None


def test_a_wait_that_the_script_has_handled_is_no_cause(accelerate: Run, script: Script, tmp_path: Path) -> None:
    text = ME + f"print({GLOO!r}, file=sys.stderr)\ntime.sleep(1)\nif rank: time.sleep(1000)\nsys.exit(3)\n"
    done = accelerate("launch", *TWO, "--report", tmp_path / "report.json", script(text))
    assert done.returncode == 3
    assert "accel: rank 0 (local rank 0, pid" in done.stderr
    assert _report(tmp_path / "report.json")["collective_timeout"] is None


def test_a_wait_that_the_script_has_handled_does_not_explain_a_later_abort(
    accelerate: Run, script: Script, tmp_path: Path
) -> None:
    text = ME + f"print({GLOO!r}, file=sys.stderr)\ntime.sleep(1)\nif rank: time.sleep(1000)\nos.abort()\n"
    done = accelerate("launch", *TWO, "--report", tmp_path / "report.json", script(text))
    assert done.returncode == 134
    assert "accel: rank 0 (local rank 0, pid" in done.stderr
    assert _report(tmp_path / "report.json")["collective_timeout"] is None


@pytest.mark.serial  # the look at ranks has two seconds
@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("flags", "earlier"),
    [
        (THREE, "if rank == 0: print('seen: Rank 2 failed to pass monitoredBarrier in 1000 ms', file=sys.stderr)"),
        (TWO, f"if rank == 1: print({GLOO!r}, file=sys.stderr)"),
    ],
)
def test_what_ranks_printed_earlier_does_not_say_who_is_missing(
    accelerate: Run, script: Script, tmp_path: Path, flags: tuple[str, ...], earlier: str
) -> None:
    text = ME + (
        "def rest():\n    time.sleep(1000)\n"
        f"{earlier}\nif rank == 1: rest()\ntime.sleep(6)\nprint({GLOO!r}, file=sys.stderr)\n"
        f"time.sleep(2)\nraise RuntimeError({GLOO!r})\n"
    )
    accelerate("launch", *flags, "--report", tmp_path / "report.json", script(text))
    timeout = _report(tmp_path / "report.json")["collective_timeout"]
    assert isinstance(timeout, dict)
    assert (timeout["missing"], timeout["source"]) == ([1], "stacks")


def test_a_rank_seen_after_its_end_is_no_witness_and_not_blamed() -> None:
    doings = {0: "python, running", 1: "ended", 2: "ended"}
    groups = tuple(Group((rank,), doing, ended=doing == "ended") for rank, doing in doings.items())
    kinds = dict.fromkeys(doings, "still")
    seen = Stall(at=1.0, since=1.0, ranks=(0, 1, 2), groups=groups, kinds=kinds)
    assert missing._elsewhere(seen, {2}) == ()  # pyright: ignore[reportPrivateUsage]
    assert missing._elsewhere(seen, {1, 2}) == (0,)  # pyright: ignore[reportPrivateUsage]


def test_a_rank_that_has_ended_well_is_not_missing_while_another_one_is_elsewhere() -> None:
    groups = (Group((1,), "train.py:7 load > sleep"), Group((2,), "ended: exit status 0", ended=True))
    seen = Stall(at=1.0, since=1.0, ranks=(0, 1, 2), groups=groups, kinds={0: "waiting", 1: "still", 2: "ended"})
    assert missing._elsewhere(seen, {0}) == (1,)  # pyright: ignore[reportPrivateUsage]
    assert missing._elsewhere(seen, {0, 1}) == (2,)  # pyright: ignore[reportPrivateUsage]


@pytest.mark.exhaustive
def test_the_watchdog_s_numbers_say_who_is_behind(accelerate: Run, script: Script, tmp_path: Path) -> None:
    text = ME + (
        f"if rank == 1:\n    print({BEHIND!r}.format(1, 11), file=sys.stderr)\n    time.sleep(1000)\n"
        f"time.sleep(1)\nprint({NCCL!r}.format(rank), {BEHIND!r}.format(rank, 12), sep=chr(10), file=sys.stderr)\n"
        "time.sleep(0.5)\nos.abort()\n"
    )
    done = accelerate("launch", *THREE, "--report", tmp_path / "report.json", script(text))
    assert done.returncode == 134
    report = _report(tmp_path / "report.json")
    timeout = report["collective_timeout"]
    assert isinstance(timeout, dict)
    assert (timeout["missing"], timeout["source"]) == ([1], "watchdog")
    assert "missing: rank " in done.stderr
    assert (
        "timed out after 600.06 s waiting for it (ALLREDUCE); it was at script1.py:5 <module> > sleep" in done.stderr
    )


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "closed",
    [
        "[gloo/transport/tcp/pair.cc:561] Connection closed by peer [127.0.0.1]:1. It has crashed.",
        "[gloo/transport/tcp/pair.cc:545] Read error [127.0.0.1]:3983: Connection reset by peer. GLHF!",
    ],
)
def test_a_rank_that_left_early_is_blamed_for_the_connection_that_others_lose(
    accelerate: Run, script: Script, tmp_path: Path, closed: str
) -> None:
    text = ME + f"if rank == 1: sys.exit()\ntime.sleep(1)\nraise RuntimeError({closed!r})\n"
    done = accelerate("launch", *TWO, "--report", tmp_path / "report.json", script(text))
    assert done.returncode == 1
    assert "accel: rank 1 (local rank 1, pid" in done.stderr
    waited = "rank 0 lost its connection to it at script1.py:5"
    assert f"  cause: missing: {waited}; it had ended: exit status 0\n" in done.stderr
    timeout = _report(tmp_path / "report.json")["collective_timeout"]
    assert isinstance(timeout, dict)
    assert (timeout["missing"], timeout["source"]) == ([1], "ending")
    done = accelerate("launch", *THREE, script(text.replace("rank == 1", "rank")))  # most have left
    assert "accel: rank 0 (local rank 0, pid" in done.stderr
    assert "/script2.py:5\n" in done.stderr.partition("  at: ")[2]
    assert "  had ended well: ranks 1-2\n" in done.stderr


@pytest.mark.exhaustive
@needs_torch
def test_gloo_s_timeout(accelerate: Run, script: Script, tmp_path: Path) -> None:
    text = (
        ME + "import datetime, torch, torch.distributed as dist\n"
        "dist.init_process_group('gloo', timeout=datetime.timedelta(seconds=3))\n"
        "def step():\n    if rank == 1: time.sleep(1000)\n    dist.all_reduce(torch.ones(1))\nstep()\n"
    )
    done = accelerate("launch", *TWO, *IMPORTED, "--report", tmp_path / "report.json", script(text))
    assert "accel: rank 1 (local rank 1, pid" in done.stderr
    waited = "rank 0 timed out after 3 s waiting for it (all_reduce at script1.py:7)"
    assert f"  cause: missing: {waited}; it was at script1.py:6 step > sleep\n" in done.stderr
    timeout = _report(tmp_path / "report.json")["collective_timeout"]
    assert isinstance(timeout, dict)
    doings = {group["ranks"][0]: group["doing"] for group in timeout["groups"]}
    assert doings == {0: "script1.py:7 step > torch all_reduce, waiting", 1: "script1.py:6 step > sleep"}
    (one,) = timeout["collectives"]
    assert (one["rank"], one["operation"], one["number"], one["done"]) == (0, "all_reduce", None, False)


@needs_torch
@pytest.mark.exhaustive
@pytest.mark.parametrize("culprit", [0, 1])
@pytest.mark.parametrize("ranks", [TWO, THREE])
def test_a_rank_that_does_not_come_to_the_start(
    accelerate: Run, script: Script, culprit: int, ranks: tuple[str, ...]
) -> None:
    text = (
        ME + f"def load():\n    if rank == {culprit}: time.sleep(1000)\nload()\n"
        "import datetime, torch, torch.distributed as dist\n"
        "dist.init_process_group('gloo', timeout=datetime.timedelta(seconds=4))\n"
    )
    done = accelerate("launch", *ranks, *IMPORTED, script(text))
    assert f"accel: rank {culprit} (local rank {culprit}, pid" in done.stderr
    waited = "waiting for it (init_process_group at script1.py:7); it was at script1.py:4 load > sleep\n"
    assert waited in done.stderr, done.stderr


@needs_torch
@pytest.mark.exhaustive
@pytest.mark.serial
def test_ranks_that_wait_for_each_other_in_different_places(accelerate: Run, script: Script) -> None:
    text = (
        ME + "import datetime, torch, torch.distributed as dist\n"
        "dist.init_process_group('gloo', timeout=datetime.timedelta(seconds=3))\ndist.all_reduce(torch.ones(1))\n"
        "if rank == 1: dist.barrier()\ndist.all_reduce(torch.ones(9))\n"
    )
    done = accelerate("launch", *THREE, *IMPORTED, script(text))
    assert "accel: rank 1 (local rank 1, pid" in done.stderr
    assert "script1.py:6" in done.stderr.partition("  cause: missing: rank ")[2]


@pytest.mark.exhaustive
@needs_torch
@pytest.mark.parametrize(
    ("engine", "way"),
    [
        ("local", "dist.monitored_barrier()"),
        ("local", "dist.barrier()"),
        ("local", "dist.all_gather_object([None] * 3, rank)"),
        ("torchrun", "dist.barrier()"),
    ],
)
def test_every_way_to_wait_with_gloo(accelerate: Run, script: Script, way: str, engine: str) -> None:
    text = (
        ME + "import datetime, torch, torch.distributed as dist\n"
        "dist.init_process_group('gloo', timeout=datetime.timedelta(seconds=3))\n"
        f"dist.all_reduce(torch.ones(1))\ndef step():\n    if rank == 1: time.sleep(1000)\n    {way}\nstep()\n"
    )
    more = IMPORTED if engine == "local" else ()
    done = accelerate("launch", *THREE, "--engine", engine, *more, script(text))
    assert "accel: rank 1 (local rank 1, pid" in done.stderr, done.stderr
    # Torch's agent may end it while it is read; the kernel's word is all there is then.
    where = "script1.py:7 step" if engine == "local" else r"(script1\.py:7 step|python)"
    assert re.search(rf"; it was at {where} > sleep\n", done.stderr), done.stderr


# The flight recorder.

RECORDED = (
    ME + "import torch, torch.distributed as dist\nimport torch._C._distributed_c10d as c10d\n"
    "dist.init_process_group('gloo')\nreduce = lambda: dist.all_reduce(torch.ones(1), async_op=True)\n"
    "reduce().wait()\nif rank != 1: work = reduce()\n"
    "time.sleep(1)\nc10d._dump_fr_trace_file(rank, True, True)\n"
    "if rank == 1: time.sleep(1000)\nplace = os.environ['TORCH_FR_DUMP_TEMP_FILE']\n"
    "while not all(os.path.exists(place + str(other)) for other in range(3)): time.sleep(0.05)\n"
    f"time.sleep(1)\nprint({NCCL!r}.format(rank), file=sys.stderr)\ntime.sleep(0.5)\nos.abort()\n"
)
"""What NCCL's watchdog does, with the recorder of gloo."""


@needs_torch
@pytest.mark.exhaustive
def test_the_flight_recorder_tells_the_last_collective_of_each_rank(
    accelerate: Run, script: Script, tmp_path: Path
) -> None:
    given = {"TORCH_FR_BUFFER_SIZE": "100", "TORCH_FR_DUMP_TEMP_FILE": f"{tmp_path}/mine_"}
    done = accelerate("launch", *THREE, "--report", tmp_path / "report.json", script(RECORDED), env=given)
    timeout = _report(tmp_path / "report.json")["collective_timeout"]
    assert isinstance(timeout, dict)
    assert (timeout["missing"], timeout["source"]) == ([1], "flight recorder")
    last = {one["rank"]: (one["number"], one["done"]) for one in timeout["collectives"]}
    assert last == {0: (2, False), 1: (1, True), 2: (2, False)}
    assert "  last collective of rank 1: all_reduce number 1 of default_pg, script1.py:6, done\n" in done.stderr
    assert (
        "  last collective of ranks 0, 2: all_reduce number 2 of default_pg, script1.py:6, not done\n" in done.stderr
    )
    assert sorted(path.name for path in tmp_path.glob("mine_*")) == ["mine_0", "mine_1", "mine_2"]


WRITES = ME + (
    "import pickle\nplace = os.environ['TORCH_FR_DUMP_TEMP_FILE']\nprint(place, flush=True)\n"
    "def entry(number, done):\n"
    "    return {'process_group': ('0', 'default_pg'), 'collective_seq_id': number, 'profiling_name': 'nccl:all_reduce',\n"
    "            'state': 'completed' if done else 'started', 'retired': done, 'is_p2p': False, 'time_created_ns': number,\n"
    "            'frames': [{'name': 'step', 'filename': '/x/train.py', 'line': 7}]}\n"
    "entries = [entry(1, True)] + ([entry(2, False)] if rank != 1 else [])\n"
    "pickle.dump({'version': '2.10', 'entries': entries,\n"
    "             'pg_config': {'0': {'name': '0', 'desc': 'default_pg', 'ranks': '[0, 1]'}}}, open(place + str(rank), 'wb'))\n"
    f"if rank == 1: time.sleep(1000)\ntime.sleep(1)\nprint({NCCL!r}.format(rank), file=sys.stderr)\ntime.sleep(0.5)\nos.abort()\n"
)


@pytest.mark.exhaustive
def test_its_files_are_in_a_folder_of_the_run_and_gone_with_it(
    accelerate: Run, script: Script, tmp_path: Path
) -> None:
    done = accelerate("launch", *TWO, script(WRITES), env={"TORCH_FR_BUFFER_SIZE": "100"})
    assert "  last collective of rank 1: all_reduce number 1 of default_pg, train.py:7, done\n" in done.stderr
    folder = Path(done.stdout.splitlines()[0]).parent
    assert folder.name.startswith("accel-")
    assert not folder.exists()
    done = accelerate("launch", *TWO, "--log_dir", tmp_path, script(WRITES), env={"TORCH_FR_BUFFER_SIZE": "100"})
    files = sorted(tmp_path.glob("*_script2/flight_recorder/rank_*"))
    assert [path.name for path in files] == ["rank_0", "rank_1"]


def test_the_folder_does_not_outlive_a_launcher_that_was_killed(
    launched: Start, environ: dict[str, str], script: Script
) -> None:
    environ["TORCH_FR_BUFFER_SIZE"] = "100"
    running = launched(
        *TWO, script(ME + "print(os.environ['TORCH_FR_DUMP_TEMP_FILE'], flush=True)\ntime.sleep(1000)\n")
    )
    assert running.stdout is not None
    folder = Path(running.stdout.readline()).parent
    assert folder.is_dir()
    running.kill()
    assert until(lambda: not folder.exists())


class Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, ("evil",)


def test_nothing_but_plain_data_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("0").write_bytes(pickle.dumps({"entries": [Evil()]}))
    Path("1").write_bytes(b"\x80\x02garbage")
    Path("2").write_bytes(pickle.dumps(["entries"]))
    Path("3").write_bytes(pickle.dumps({"entries": [1, {}, {"process_group": 3}], "pg_config": 4}))
    os.mkfifo("4")
    Path("5").write_bytes(pickle.dumps({}))
    os.utime("5", (1, 1))
    Path("6").write_bytes(pickle.dumps({}))
    if os.geteuid() == 0:
        os.chown("6", 1, 1)  # another user's
    else:
        Path("6").unlink()
    found = recorder.read(f"{tmp_path}/", range(8), since=100.0)
    assert list(found) == [3]
    assert (recorder.last(found), recorder.missing(found)) == ((), ())
    assert not Path("evil").exists()


@pytest.mark.parametrize(
    "spoilt",
    [
        {"collective_seq_id": 10**6000},
        {"profiling_name": functools.reduce(lambda inner, _: [inner] * 10, range(12), ["x"])},  # 1 TB as text
        {"profiling_name": functools.reduce(lambda inner, _: [inner], range(2000), ["x"])},
        {"frames": [{"name": "f", "filename": "/u/a.py", "line": 10**6000}]},
        {"time_created_ns": 10**400},
    ],
)
def test_data_that_can_not_be_printed_is_left_out(spoilt: dict[str, object]) -> None:
    dump: dict[str, Any] = _dump(("a", 1, "all_reduce", False), ranks=f"[0, {'9' * 6000}]")
    dump["entries"].append({**dump["entries"][0], **spoilt})
    (one,) = recorder.last({0: dump})
    assert (one.number, one.operation, one.where) == (1, "all_reduce", "")
    assert recorder.members({0: dump}, "dp") == {0}


def test_names_in_recordings_control_no_terminal() -> None:
    dump: dict[str, Any] = _dump(("\x1b[31m\n" + "a" * 1000, 1, "all\x07reduce", False))
    (one,) = recorder.last({0: dump})
    assert (one.group, one.operation) == ("?[31m?" + "a" * 294, "all?reduce")


def _dump(*entries: tuple[str, int, str, bool], ranks: str = "[0, 1, 2]") -> dict[str, object]:
    """What a rank leaves that has begun these collectives: group, number, operation, done."""
    made = [
        {
            "process_group": (group, group),
            "collective_seq_id": number,
            "profiling_name": f"nccl:{operation}",
            "state": "completed" if done else "scheduled",
            "time_created_ns": place,
        }
        for place, (group, number, operation, done) in enumerate(entries)
    ]
    return {"entries": made, "pg_config": {name: {"desc": name, "ranks": ranks} for name in ("dp", "tp")}}


@pytest.mark.parametrize(
    ("dumps", "missing"),
    [
        ({0: _dump(("dp", 2, "all_reduce", False)), 1: _dump(("dp", 1, "all_reduce", True))}, (1,)),
        ({0: _dump(("dp", 2, "all_reduce", False)), 1: _dump()}, (1,)),
        ({0: _dump(("dp", 2, "all_reduce", False)), 1: _dump(("dp", 2, "all_reduce", False))}, (2,)),
        # Rank 1 waits in another group, for rank 2, which is behind in both.
        (
            {
                0: _dump(("dp", 2, "all_reduce", False)),
                1: _dump(("tp", 5, "all_gather", False)),
                2: _dump(("dp", 1, "all_reduce", True), ("tp", 4, "all_gather", True)),
            },
            (2,),
        ),
        # Another operation at the same place.
        (
            {
                0: _dump(("dp", 2, "all_reduce", False)),
                1: _dump(("dp", 2, "broadcast", False)),
                2: _dump(("dp", 2, "all_reduce", False)),
            },
            (1,),
        ),
        ({0: _dump(("dp", 2, "all_reduce", True))}, ()),
        ({}, ()),
    ],
)
def test_who_is_missing_by_the_recorder(dumps: dict[int, dict[str, object]], missing: tuple[int, ...]) -> None:
    assert recorder.missing(dumps) == missing


@pytest.mark.fuzz
def test_recordings_that_make_no_sense(tmp_path: Path) -> None:
    odd = (
        None,
        -1,
        10**400,
        float("nan"),
        float("inf"),
        "",
        "\ud800",
        [],
        {},
        (),
        [[]],
        {"x": 1},
        b"x",
        True,
        "[0, 9" * 99,
    )

    def spoilt(value: Any, chance: random.Random) -> Any:
        if chance.random() < 0.05:
            return chance.choice(odd)
        if isinstance(value, dict):
            return {key: spoilt(each, chance) for key, each in value.items() if chance.random() < 0.97}
        return [spoilt(each, chance) for each in value] if isinstance(value, list) else value

    def one_round(chance: random.Random) -> None:
        for rank in range(3):
            entries = [("dp", chance.randrange(4), "all_reduce", chance.random() < 0.5) for _ in range(3)]
            content = pickle.dumps(spoilt(_dump(*entries), chance), chance.randrange(2, 5))
            if chance.random() < 0.1:
                content = content[: chance.randrange(len(content))]
            (tmp_path / str(rank)).write_bytes(content)
        found = recorder.read(f"{tmp_path}/", range(3), since=0.0)
        recorder.missing(found)
        json.dumps([dict(one) for one in recorder.last(found)])

    fuzz(one_round)


def test_the_recorder_is_switched_on_by_the_names_that_the_installed_torch_knows() -> None:
    new = {"TORCH_FR_BUFFER_SIZE": "2000"}
    old = {"TORCH_NCCL_TRACE_BUFFER_SIZE": "2000", "TORCH_NCCL_DUMP_ON_TIMEOUT": "1"}
    assert flight_recorder.variables("TORCH_FR", {}) == new
    assert flight_recorder.variables("TORCH_NCCL", {}) == old
    assert flight_recorder.variables("", {}) == {}
    assert flight_recorder.variables("TORCH_FR", {"TORCH_NCCL_TRACE_BUFFER_SIZE": "0"}) == {}
    assert flight_recorder.variables("TORCH_NCCL", {"TORCH_NCCL_DUMP_ON_TIMEOUT": "0"}) == {
        "TORCH_NCCL_TRACE_BUFFER_SIZE": "2000"
    }
    assert flight_recorder.place(new) == ("TORCH_FR_DUMP_TEMP_FILE", "")
    assert flight_recorder.place({**old, "TORCH_FR_DUMP_TEMP_FILE": "x"})[1] == "x"
    assert flight_recorder.place(old) == ("TORCH_NCCL_DEBUG_INFO_TEMP_FILE", "")
    assert flight_recorder.place({}) == ("", "")


@pytest.mark.exhaustive
@needs_torch
def test_torch_has_these_names() -> None:
    import torch

    names = Packages().flight_recorder()
    library = (Path(torch.__file__).parent / "lib" / "libtorch_cpu.so").read_bytes()
    assert all(
        name.encode() in library for name in (*flight_recorder.VARIABLES[names], flight_recorder.PLACES[names])
    )
