"""The strategies as a table, and as JSON."""

from __future__ import annotations

from accel_config.showing.printable import one_line
from accel_estimate.devices.units import GIB, spell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from accel_cli.recommending.choosing import Answer, Choice
    from accel_estimate import Strategy

HEADS = ("strategy", "step", "tokens/s", "compute", "recompute", "waiting", "optimizer", "memory (low to high), GiB")

SMALLER = {"full": ", or --method lora or qlora", "lora": ", or --method qlora", "qlora": ""}


def seconds(time: float) -> str:
    """Return a time with three digits."""
    return f"{time:.3g} s" if time >= 1 else f"{time * 1000:.3g} ms"


def memory(strategy: Strategy) -> str:
    """Return the memory of a device: expected, low and high, and what there is; and of the machine's own."""
    low, expected, high, limit = (
        f"{size / GIB:.1f}" for size in (strategy.low, strategy.expected, strategy.high, strategy.limit)
    )
    host = f", and each machine about {spell(strategy.host)} of its own memory" if strategy.host else ""
    return f"{expected} GiB ({low} to {high}) of {limit}{host}"


def table(answer: Answer) -> str:
    """Return the answer for people."""
    asked, devices = answer.question, answer.devices
    batch = f"batch {asked.batch_size} x {asked.seq_len} tokens on each device"
    lines = [
        f"{one_line(answer.model)} on {one_line(devices.text)}: {asked.method} fine-tuning, {batch}",
        *(one_line(note) for note in answer.notes),
        "",
    ]
    if answer.fitting:
        rows = [HEADS, *(_cells(one) for one in answer.fitting)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(HEADS))]
        for row in rows:
            cells = [f"{row[0]:<{widths[0]}}"]
            cells += [f"{cell:>{width}}" for cell, width in zip(row[1:-1], widths[1:-1], strict=True)]
            lines.append("  ".join([*cells, row[-1]]))
        lines.append("")
    lines += _remarks(answer)
    return "\n".join(lines) + "\n"


def _cells(choice: Choice) -> tuple[str, ...]:
    cost, it = choice.cost, choice.strategy
    parts = (seconds(part) if part else "-" for part in (cost.compute, cost.recompute, cost.waiting, cost.optimizer))
    amounts = f"{it.expected / GIB:.1f} ({it.low / GIB:.1f} to {it.high / GIB:.1f})"
    tight = "" if choice.certain else ", may not fit"
    return choice.name, seconds(cost.seconds), f"{choice.tokens:,.0f}", *parts, amounts + tight


def _remarks(answer: Answer) -> Iterator[str]:
    limit = f"{answer.devices.limit / GIB:.1f} GiB of a device"
    for text, barely in (("Barely fit the", True), ("Above the", False)):
        named = [
            f"{it.name} ({it.strategy.expected / GIB:.1f})" for it in answer.others if it.strategy.barely == barely
        ]
        if named:
            yield f"{text} {limit}: {', '.join(named)}"
    held = [f"{one.name} {spell(one.strategy.host)}" for one in answer.fitting if one.strategy.host]
    if held:
        yield f"Of each machine's own memory they take about: {', '.join(held)}"
    if answer.instead:
        yield f"Without offloading, {answer.instead}"
    if not answer.fitting:
        smaller = SMALLER[answer.question.method]
        yield f"None of them fits: use more or larger devices, a smaller batch or length{smaller}"
    elif any(one.cost.recompute for one in answer.fitting):
        yield "A time under recompute means full activation checkpointing"


def as_json(answer: Answer) -> dict[str, Any]:
    """Return plain data: seconds, and bytes."""
    asked, devices = answer.question, answer.devices
    return {
        "model": answer.model,
        "devices": {
            "text": devices.text,
            "count": devices.count,
            "per_machine": devices.per_machine,
            "limit": devices.limit,
        },
        "method": asked.method,
        "batch_size": asked.batch_size,
        "seq_len": asked.seq_len,
        "gradient_accumulation": asked.gradient_accumulation,
        "notes": list(answer.notes),
        "instead_of_offloading": answer.instead or None,
        "strategies": [_as_json(one) for one in (*answer.fitting, *answer.others)],
    }


def _as_json(choice: Choice) -> dict[str, Any]:
    it, cost = choice.strategy, choice.cost
    return {
        "name": choice.name,
        "fits": it.fits,
        "barely_fits": it.barely,
        "fits_at_high": choice.certain,
        "gradient_checkpointing": it.recipe.gradient_checkpointing,
        "mixed_precision": it.recipe.mixed_precision,
        "seconds": cost.seconds,
        "tokens_per_second": choice.tokens,
        "parts": {name: getattr(cost, name) for name in cost._fields},
        "memory": {"low": round(it.low), "expected": round(it.expected), "high": round(it.high)},
        "machine_memory": round(it.host),
    }
