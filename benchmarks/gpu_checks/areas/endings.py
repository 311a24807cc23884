"""Endings: memory that the driver takes back, out of memory, a kernel and a collective that never end."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, Any

from benchmarks.gpu_checks.bench import GIB, Bench, gib, told
from benchmarks.gpu_checks.check import NotSeenError, Row, check, not_seen, row
from benchmarks.gpu_checks.driver import MIB, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

HELD = 10.0
"""GiB that a rank holds when it is killed."""
NEAR = 512 * MIB
"""How far memory may be from what it was before: a driver keeps some, and others may use the device."""
REPORT = "stall.json"
STALL = f"--stall_after 15 --stall_action end --grace 2 --num_processes {{}} --report {REPORT}"
WITHIN = 45.0
"""Seconds within which a standstill is to be told and the run ended: three times `--stall_after`."""


@check("The driver takes back the memory of a killed rank", seconds=90, needs=("cuda", "driver"))
def killed(bench: Bench) -> Iterator[Row]:
    """Kill a rank that holds memory, and ask the driver until that is free."""
    from accel_estimate.devices.runtime import CONTEXT
    from accel_launch.running.attempts.freeing import LIMIT

    wanted, before = bench.amount(HELD), bench.used()
    with bench.running("--num_processes 1 --report killed.json", "hold.py", bench.device, f"{wanted}") as run:
        rank = run.wait_for("held", 60)
        grown = bench.used() - before
        claim = "The driver shows the memory that a rank holds"
        yield row(claim, f"{wanted:.1f} GiB and a context", gib(grown), grown > 0.9 * wanted * GIB)
        holders = bench.driver.holders()
        took = (holders.get(rank["pid"]) or grown) - wanted * GIB
        low, _, high = CONTEXT
        claim = "A context takes what the estimates add for it"
        yield row(claim, f"{gib(low)} to {gib(high)}", gib(took), low <= took <= high, number=took / GIB, unit="GiB")
        claim = "The driver lists a rank by its pid"
        if rank["pid"] in holders:
            yield row(claim, "listed", "listed")
        else:
            yield not_seen(
                claim, "nvidia-smi doesn't list the rank's pid: a container with pids of its own, or no right to"
            )
        os.kill(rank["pid"], signal.SIGKILL)
        at = time.monotonic()
        free = wait_for(lambda: bench.used() - before < NEAR, 60)
        ended = wait_for(lambda: run.process.poll() is not None, 20)
        taken = time.monotonic() - at if free is None else free
        claim = "The memory of a rank that was killed is free in time"
        yield row(
            claim,
            f"within {LIMIT:g} s",
            f"{taken:.2f} s after SIGKILL",
            free is not None and free < LIMIT,
            number=taken,
            unit="s",
        )
        failure = bench.failure("killed.json")
        claim = "The report names the signal that killed the rank"
        yield row(claim, "SIGKILL", failure.get("signal") if ended is not None else "the launcher hasn't ended")


@check("A restart waits for the device's memory", seconds=120, needs=("cuda", "driver"))
def restart(bench: Bench) -> Iterator[Row]:
    """Kill a rank that holds memory, and look at the driver while the next attempt comes."""
    wanted, before = bench.amount(HELD), bench.used()
    flags = "--num_processes 1 --max_restarts 1 --restart_policy always --report restart.json"
    seen: list[tuple[float, int]] = []
    with bench.running(flags, "hold.py", bench.device, f"{wanted}", "again") as run:
        held = run.wait_for("held", 60)
        listed = held["pid"] in bench.driver.holders()
        died = time.time()
        os.kill(held["pid"], signal.SIGKILL)
        until = time.monotonic() + 70
        while run.process.poll() is None and time.monotonic() < until:
            asked = time.time()
            seen.append((asked, bench.used() - before))
            time.sleep(0.02)
    text = run.text
    starts = [one for one in told(text) if one.get("attempt") == 1 and "began" in one]
    claim = "A rank that is killed is started again"
    yield row(claim, "attempt 1 begins", "attempt 1 begins" if starts else text.strip().splitlines()[-1:])
    if not starts:
        return
    claim = "The next attempt begins when the driver has taken back the memory"
    if not listed:
        yield not_seen(
            claim, "nvidia-smi doesn't list the rank's pid here, so the launcher can't wait for its memory"
        )
        return
    after = [size for at, size in seen if at >= starts[0]["began"]]
    if not after:
        raise NotSeenError("nvidia-smi answered too slowly: not once between the new attempt's start and its end")
    taken = starts[0]["began"] - died
    shown = f"{gib(after[0])} held when it began, {taken:.2f} s after the kill"
    yield row(claim, f"less than {gib(NEAR)} held", shown, after[0] < NEAR, number=taken, unit="s")


@check("Out of device memory is named as that", seconds=90, needs=("cuda", "torch"))
def out_of_memory(bench: Bench) -> Iterator[Row]:
    """Fill the device, with restarts allowed."""
    flags = "--num_processes 1 --max_restarts 2 --report memory.json"
    done = bench.launch(flags, "fill.py", bench.device)
    found = bench.report("memory.json")
    failure = bench.failure("memory.json")
    claim = "A device out of memory is the cause that the report names"
    cause, where = failure.get("exception") or failure.get("cause", done.last), failure.get("where") or "no line"
    right = "OutOfMemoryError" in cause and "fill.py" in where and "OutOfMemoryError" in done.err
    yield row(claim, "OutOfMemoryError, at the line of the script", f"{cause[:120]} at {where}", right)
    claim = "It isn't started again"
    yield row(claim, "the device is out of memory, as it would be again", found["not_again"] or "no reason",
              "out of memory" in (found["not_again"] or "") and len(found["attempts"]) == 1)  # fmt: skip


def standstill(
    bench: Bench, ranks: int, script: str, *words: str, variables: Mapping[str, str] | None = None
) -> tuple[str, str, dict[int, str]]:
    """Have a run stand still; return how it ended, the cause in its report, and what each rank did.

    Raises:
        RuntimeError: it hasn't even come to where it stands still.
    """
    with bench.running(STALL.format(ranks), script, *words, variables=variables) as run:
        run.wait_for("ready", 60)
        ended = wait_for(lambda: run.process.poll() is not None, WITHIN * bench.patience, pace=0.2)
        if ended is None:
            return f"nothing is told within {WITHIN:g} s", "none", {}
        status = run.process.poll()
    found = bench.report(REPORT)
    groups = [group for stall in found["stalls"][-1:] for group in stall["groups"]]
    doing = {rank: group["doing"] for group in groups for rank in group["ranks"]}
    return f"status {status}", bench.failure(REPORT).get("cause", "none"), doing


@check("A kernel that never ends is told as a standstill", seconds=130, needs=("cuda", "torch"))
def kernel(bench: Bench) -> Iterator[Row]:
    """Wait for a spinning kernel."""
    before = bench.driver.used(bench.uuid)
    status, cause, doing = standstill(bench, 1, "spin.py", bench.device)
    claim = "A kernel that never ends is told, with the line that waits for it"
    if "launch timed out" in cause:
        raise NotSeenError(f"this device shows a screen, and its driver ends long kernels: {cause}")
    shown, right = doing.get(0, cause), status == "status 124" and "wait_for_kernel" in doing.get(0, "")
    yield row(claim, "status 124: spin.py wait_for_kernel > ...", f"{status}: {shown}", right)
    claim = "After it the device is free again"
    if before is None:
        yield not_seen(claim, "nvidia-smi doesn't tell memory.used of the device")
        return
    free = wait_for(lambda: bench.used() - before < NEAR, 15)
    yield row(claim, f"less than {gib(NEAR)} more than before", gib(bench.used() - before), free is not None)


def absent(bench: Bench, backend: str) -> Iterator[Row]:
    """Have a rank wait in a collective for another one, and read what was told."""
    status, cause, doing = standstill(bench, 2, "absent.py", bench.device, backend, variables=bench.shared)
    waits = doing.get(0, "")
    claim = f"The rank that doesn't come to a collective is named, with its line ({backend})"
    right = status == "status 124" and "load" in cause and "absent.py" in waits
    yield row(
        claim, "status 124: absent.py load, rank 0 at its own line", f"{status}: {cause}; rank 0: {waits}", right
    )
    yield row(f"The rank that waits is told as waiting ({backend})", "waiting", waits, "waiting" in waits)


@check("A collective over gloo that waits for an absent rank", seconds=130, needs=("cuda", "torch", "shared"))
def absent_gloo(bench: Bench) -> Iterator[Row]:
    """Two ranks on the first device."""
    yield from absent(bench, "gloo")


@check(
    "A collective over nccl that waits for an absent rank",
    seconds=100,
    needs=("cuda", "torch", "shared"),
    rehearsed=False,
)
def absent_nccl(bench: Bench) -> Iterator[Row]:
    """With one device, rank 0 waits where NCCL's communicator is made: that is before NCCL sees a device twice."""
    yield from absent(bench, "nccl")


LATE = "--use_fsdp --fsdp_version 2 --grace 2 --report late.json --num_processes {}"
TOO_LONG = 4.0
"""Seconds that `late.py` gives a collective."""


@check("NCCL's watchdog and its flight recorder are read", seconds=150, needs=("cuda", "torch"))
def watchdog(bench: Bench) -> Iterator[Row]:
    """Have a collective take longer than its timeout: for an absent rank, or on one device for a kernel before it."""
    from accel_launch.machine import flight_recorder
    from accel_launch.planning.checks.debugging import PATIENT

    many = 2 if bench.rehearse or len(bench.facts["devices"]) > 1 else 1
    # The launcher switches the recorder on where there are several ranks.
    more = flight_recorder.VARIABLES[flight_recorder.NEW] if many == 1 else {}
    more |= {"ACCELERATE_LAUNCH_NUM_DEVICES": "2"} if bench.rehearse else {}
    done = bench.launch(LATE.format(many), "late.py", bench.device, variables=more, seconds=70)
    found: dict[str, Any] = bench.report("late.json")["collective_timeout"] or {}
    told_of = f"{found['operation']} after {found['seconds']} s" if found else done.last
    right = bool(found) and "reduce" in told_of.lower() and (found["seconds"] or 0.0) >= TOO_LONG
    yield row("A collective that takes too long is told as that", f"all_reduce after {TOO_LONG:g} s", told_of, right)
    if many > 1:
        claim = "The rank for which a collective has waited for too long is named"
        missing = found.get("missing")
        yield row(claim, "ranks [1]", f"ranks {missing} by {found.get('source')}", missing == [1])
    if bench.rehearse:
        raise NotSeenError("gloo has no watchdog")
    recorded: list[dict[str, Any]] = [one for one in found.get("collectives", ()) if one["number"]]
    claim = "The files of torch's flight recorder are read"
    yield row(claim, f"collectives of {many} ranks", recorded or "none", len(recorded) == many)
    if many > 1:
        return
    done = bench.launch(LATE.format(1), "late.py", bench.device, variables=PATIENT, seconds=70)
    ended = bool(done.told) and "last" in done.told[-1]
    claim = "With the variables that a launch with --debug_rank sets, NCCL's watchdog ends nothing"
    yield row(claim, "status 0", done.last, done.status == 0 and ended)
