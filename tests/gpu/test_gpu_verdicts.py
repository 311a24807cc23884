"""What a check makes of a run, a report or a measurement that is as it should be, and of one that isn't."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.gpu_checks import driver, needs, runner
from benchmarks.gpu_checks.areas import endings, finding, memory, points, runs, tools
from benchmarks.gpu_checks.bench import GIB, Bench, Done, named
from benchmarks.gpu_checks.check import CHECKS, NotSeenError
from tests.gpu.machine import H100, NAME, answers, install

PID = 71


def holds(found: Iterator[Any]) -> list[str]:
    return [row.holds for row in found]


def giving(*values: Any) -> Callable[..., Any]:
    """Return a function that gives these, one after the other, and then the last one."""
    left = list(values)

    def give(*_words: object, **_more: object) -> Any:
        return left.pop(0) if len(left) > 1 else left[0]

    return give


def told(*facts: dict[str, Any]) -> str:
    return "".join(f"GPU-CHECK {json.dumps(one)}\n" for one in facts)


def reported(monkeypatch: pytest.MonkeyPatch, bench: Bench, **report: Any) -> None:
    monkeypatch.setattr(bench, "report", giving({"failure": {}, **report}))


def runs_with(monkeypatch: pytest.MonkeyPatch, bench: Bench, *polls: int | None, text: str = "") -> list[int]:
    """Have what a check starts tell a pid and this text, and end as `polls` say; return what it is sent."""
    sent: list[int] = []
    process = SimpleNamespace(pid=1, poll=giving(*polls))
    begun = SimpleNamespace(process=process, text=text, wait_for=giving({"pid": PID}))

    @contextmanager
    def running(*_words: object, **_more: object) -> Generator[SimpleNamespace]:
        yield begun

    def kill(pid: int, number: int) -> None:
        assert pid == PID
        sent.append(number)

    monkeypatch.setattr(bench, "running", running)
    monkeypatch.setattr(os, "kill", kill)
    return sent


def at_once(sees: Callable[[], bool], _seconds: float) -> float | None:
    return 0.1 if sees() else None


def test_memory_that_is_held_too_long_or_a_context_that_is_too_large_is_a_no(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    reported(monkeypatch, bench, failure={"signal": "SIGKILL"})
    for held, after, mine, verdict in (
        (10.5, 0.0, 10.5, ["yes"] * 5),
        (10.5, 0.0, None, ["yes"] * 5),  # the driver lists the pid, and no memory
        (15.0, 0.0, 12.5, ["yes", "no", "yes", "yes", "yes"]),
        (8.0, 9.0, 10.5, ["no", "yes", "yes", "no", "yes"]),
    ):
        sent = runs_with(monkeypatch, bench, 0)
        monkeypatch.setattr(bench, "used", giving(0, round(held * GIB), round(after * GIB)))
        holders = {PID: None if mine is None else round(mine * GIB)}
        monkeypatch.setattr(bench.driver, "holders", giving(holders))
        monkeypatch.setattr(endings, "wait_for", at_once)
        assert holds(endings.killed(bench)) == verdict
        assert sent == [signal.SIGKILL]


def test_a_restart_with_memory_still_held_is_a_no(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    again = told({"attempt": 0, "began": 1.0}, {"attempt": 1, "began": 2.0})
    for size, pids, text, verdict in (
        (0, {PID: 1}, again, ["yes", "yes"]),
        (10 * GIB, {PID: 1}, again, ["yes", "no"]),
        (10 * GIB, {}, again, ["yes", "not seen"]),  # the launcher can't know either
        (0, {PID: 1}, told({"attempt": 0, "began": 1.0}), ["no"]),
    ):
        sent = runs_with(monkeypatch, bench, None, None, 0, text=text)
        monkeypatch.setattr(bench, "used", giving(0, size))
        monkeypatch.setattr(bench.driver, "holders", giving(pids))
        assert holds(endings.restart(bench)) == verdict
        assert sent == [signal.SIGKILL]


def test_another_cause_or_a_second_attempt_is_a_no_where_the_device_is_full(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    cause = {"exception": "torch.OutOfMemoryError: CUDA out of memory.", "where": "fill.py:14"}
    why, answer = "the device is out of memory, as it would be again", "torch.OutOfMemoryError: CUDA out of memory.\n"
    for failure, reason, attempts, verdict in (
        (cause, why, 1, ["yes", "yes"]),
        ({**cause, "exception": "RuntimeError: oh"}, None, 3, ["no", "no"]),
        ({**cause, "where": None}, why, 2, ["no", "no"]),
    ):
        monkeypatch.setattr(bench, "launch", giving(Done(1, "", answer, 1.0)))
        reported(monkeypatch, bench, failure=failure, not_again=reason, attempts=[{}] * attempts)
        assert holds(endings.out_of_memory(bench)) == verdict


def test_a_collective_that_nobody_ends_or_another_rank_is_a_no(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    late = {"operation": "ALLREDUCE", "seconds": 4.1, "missing": [], "source": None, "collectives": [{"number": 2}]}
    answers(monkeypatch, bench, told({"first": 1.0}), told({"first": 1.0}, {"last": 1.0}))
    reported(monkeypatch, bench, collective_timeout=late)
    assert holds(endings.watchdog(bench)) == ["yes", "yes", "yes"]
    answers(monkeypatch, bench, told({"first": 1.0}))
    reported(monkeypatch, bench, collective_timeout=None)
    assert holds(endings.watchdog(bench)) == ["no", "no", "no"]
    bench.facts["devices"] *= 2
    one = {**late, "missing": [1], "source": "flight recorder", "collectives": [{"number": 2}, {"number": 1}]}
    reported(monkeypatch, bench, collective_timeout=one)
    assert holds(endings.watchdog(bench)) == ["yes", "yes", "yes"]
    reported(monkeypatch, bench, collective_timeout={**one, "missing": [0], "seconds": 1.0})
    assert holds(endings.watchdog(bench)) == ["no", "no", "yes"]


def test_a_kernel_is_judged_where_the_driver_tells_no_memory(
    tmp_path: Path, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    told_of = {0: "spin.py:16 wait_for_kernel > torch synchronize"}
    monkeypatch.setattr(endings, "standstill", giving(("status 124", "standing still", told_of)))
    install(tmp_path, {}, monkeypatch)
    assert holds(endings.kernel(bench)) == ["yes", "not seen"]
    late = "torch.AcceleratorError: CUDA error: the launch timed out and was terminated"
    monkeypatch.setattr(endings, "standstill", giving(("status 1", late, {})))
    with pytest.raises(NotSeenError, match="shows a screen"):
        list(endings.kernel(bench))


def test_ranks_are_judged_by_number_device_sum_and_precision(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.facts["devices"] *= 2
    pair = [{"sum": 3.0, "backend": "nccl", "device": f"cuda:{place}"} for place in (0, 1)]
    answers(monkeypatch, bench, told(*pair), "accuracy 0.91 on 359 held-out images, 2 ranks, 0.7 s\n")
    assert holds(runs.several(bench)) == ["yes", "yes"]
    answers(monkeypatch, bench, told(pair[0], pair[0]), "accuracy 0.91 on 359 held-out images, 1 ranks, 0.7 s\n")
    assert holds(runs.several(bench)) == ["no", "no"]
    shared = {"sum": 3.0, "backend": "gloo", "device": "cuda:0"}
    answers(monkeypatch, bench, told(shared, shared))
    assert holds(runs.two_on_one(bench)) == ["no", "yes"]  # not refused: the status is 0
    answers(monkeypatch, bench, told(shared, {**shared, "device": "cuda:1"}))
    assert holds(runs.two_on_one(bench)) == ["no", "no"]
    learned = {"computed": "bfloat16", "first": 2.8, "last": 1.6}
    answers(monkeypatch, bench, told(learned), told({**learned, "computed": "float16"}))
    assert holds(runs.precision(bench)) == ["yes", "yes"]
    answers(monkeypatch, bench, told({**learned, "last": 2.9}), told(learned))
    assert holds(runs.precision(bench)) == ["no", "no"]
    bench.facts["bf16"] = False
    answers(monkeypatch, bench, "oh\n")
    assert holds(runs.precision(bench)) == ["not seen", "no"]
    answers(monkeypatch, bench, "accuracy 0.71 on 359 held-out images, 1 ranks\n")
    assert holds(runs.trainer(bench)) == ["yes"]
    answers(monkeypatch, bench, "accuracy 0.71 on 359 held-out images, 1 ranks\n", status=1)
    assert holds(runs.trainer(bench)) == ["no"]


def test_serving_is_held_to_the_size_of_the_cache_and_to_low_and_high(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, point = next(iter(points.SERVING.items()))
    (low, _, high), _ = memory.served(point)
    shorter = point._replace(settings={**point.settings, "context_len": point.settings["context_len"] - 1})
    cache = memory.served(shorter)[1]
    monkeypatch.setattr(points, "SERVING", {name: point})
    for one, verdict in (
        ({"cache": cache, "allocated": (low + high) / 2}, ["yes", "yes"]),
        ({"cache": cache + 2, "allocated": high + 1}, ["no", "no"]),
        ({"ran_out": True, "has": 80 * GIB, "why": "out of memory"}, ["not seen", "no"]),
        ({"broken": True, "why": "oh"}, ["not seen", "broken"]),
    ):
        monkeypatch.setattr(memory, "measured", giving([{"point": name, **one}]))
        assert holds(memory.serving(bench)) == verdict
    monkeypatch.setattr(memory, "measured", giving([]))
    with pytest.raises(NotSeenError, match="no point was served in time"):
        list(memory.serving(bench))
    bench.facts["free"] = GIB // 4
    assert holds(memory.serving(bench)) == ["not seen", "not seen"]


def test_a_card_and_a_slice_are_known_by_their_names(bench: Bench) -> None:
    assert holds(finding.card(bench)) == ["yes", "yes"]
    bench.facts["devices"][0]["total"] = 94 * GIB
    bench.facts["bf16"] = False
    assert holds(finding.card(bench)) == ["no", "no"]
    bench.facts["devices"][0]["name"] = "NVIDIA Unheard-of"
    with pytest.raises(NotSeenError, match="know no NVIDIA Unheard-of"):
        list(finding.card(bench))
    assert named({"name": f"{NAME} MIG 1g.10gb", "uuid": "12-34"}) == "MIG-12-34"
    assert bench.uuid == H100


def test_a_driver_that_hangs_is_asked_once_and_checks_have_no_settings_of_the_user(
    tmp_path: Path, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = tmp_path / "asked"
    program = tmp_path / "bin" / "nvidia-smi"
    program.write_text(f"#!/bin/sh\necho asked >> {asked}\nexec sleep 60\n")
    monkeypatch.setattr(driver, "SECONDS", 0.3)
    mute = Bench(bench.folder, {**bench.facts}, rehearse=False)
    needed = [CHECKS[name] for name in ("tools.env", "finding.order")]
    monkeypatch.setitem(needs.MISSING, "device", giving(""))
    skipped = runner.skipped(needed, mute)
    assert skipped == {"nvidia-smi lists no device; it hasn't answered within 0.3 s": [one.name for one in needed]}
    assert mute.driver.used(H100) is None
    assert asked.read_text() == "asked\n"
    program.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed'\nexit 9\n")
    broken = Bench(bench.folder, {}, rehearse=False)
    assert needs.MISSING["driver"](broken).endswith("lists no device; status 9: NVIDIA-SMI has failed")
    for name in ("ACCELERATE_MIXED_PRECISION", "PYTORCH_ALLOC_CONF", "RANK", "PYTHONDONTWRITEBYTECODE"):
        monkeypatch.setenv(name, "1")
    assert not {"ACCELERATE_MIXED_PRECISION", "PYTORCH_ALLOC_CONF", "RANK"} & set(bench.environ)
    assert bench.environ["HF_HOME"].startswith(str(bench.folder))
    assert "PYTHONDONTWRITEBYTECODE" not in bench.environ
    assert os.environ["RANK"] == "1"


def test_a_slow_driver_or_far_cpus_are_no_fault_of_the_tools(
    tmp_path: Path, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "bus/pci/devices/0000:3b:00.0"
    folder.mkdir(parents=True)
    (folder / "numa_node").write_text("1\n")
    (folder / "local_cpulist").write_text("90-95\n")
    monkeypatch.setattr(tools, "SYS", tmp_path)
    answers(monkeypatch, bench, told({"cpus": [0]}))
    with pytest.raises(NotSeenError, match="no CPU near the device is allowed here: 90-95"):
        list(tools.binding(bench))
    runs_with(monkeypatch, bench, None)
    monkeypatch.setattr(tools, "time", SimpleNamespace(monotonic=giving(0.0, 4.0)))
    with pytest.raises(NotSeenError, match=r"takes 4\.0 s to answer, and ps and top wait 5 s"):
        list(tools.ps_and_top(bench))
