"""The command's half of `--script`: it starts the script in a process of its own and prints what that reports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from accel_estimate.devices.limits import Fit, read_devices
from accel_estimate.errors import EstimateError, UsageError
from accel_estimate.tracing import limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

CARD = "ACCEL_ESTIMATE_CARD"
"""The variable with the kind of device that the script is held against, for the script's process."""


class StoppedError(EstimateError):
    """The script couldn't be run up to its second optimizer step."""


def report(
    script: str, words: Sequence[str], fits: str | None, processes: int | None = None
) -> tuple[dict[str, Any], Fit | None]:
    """Return what a script takes, as plain data, and whether that fits a device.

    A script that uses no device is run again, and what it takes on the CPU counts. With `processes` it finds what
    a launcher sets, as the first of so many.

    Raises:
        UsageError: there is no such script, no such device, or no torch.
        StoppedError: the script can't be run to its second step.

    """
    where = read_devices(fits) if fits else None
    if not Path(script).is_file():
        raise UsageError(f"--script {script}: there is no such file")
    limits.check_installed("--script", ("torch",))
    notes: list[str] = list(where.notes) if where else []
    card = where.card if where else ""
    found = _run(script, words, "device", processes, card)
    if not found["uses_device"] and ("training" in found or "ended after" in found["stopped"]):
        found = _run(script, words, "host", processes, card)
        notes.append("The script uses no device, so this is what it takes on the CPU.")
    if "stopped" in found:
        raise StoppedError(f"--script: {found['stopped']}")
    if found["training"] is None:
        raise StoppedError(f"--script: {script} trains nothing that torch's optimizers step")
    notes += [
        f"{one['line'] or script}: skipped {one['what']}, since nothing is written." for one in found["skipped"]
    ]
    if found["guessed"]:
        lines = ", ".join(found["guessed"])
        notes.append(
            f"{lines}: whole numbers of tensors were taken as 1; if sizes depend on them, the estimate is wrong."
        )
    if found["decided"]:
        lines = ", ".join(found["decided"])
        notes.append(f"{lines}: decided as if each number of the tensors was 1.")
    if found["processes"] > 1:
        notes.append(f"This is what the first of {found['processes']} processes takes.")
    data: dict[str, Any] = {
        "script": script,
        "arguments": list(words),
        "training": found["training"],
        "peak_line": found["peak_line"],
        "lines": found["lines"],
        **({"notes": notes} if notes else {}),
    }
    return data, Fit(where.text, where.limit, data["training"]["expected_bytes"], "training") if where else None


def _run(script: str, words: Sequence[str], where: str, processes: int | None, card: str) -> dict[str, Any]:
    """Run the script in a process of its own, whose output goes to standard error; return what that reports."""
    reads, writes = os.pipe()
    with tempfile.TemporaryDirectory(prefix="accel-estimate-") as folder, os.fdopen(reads, "rb") as channel:
        command = [
            sys.executable,
            "-P",
            "-m",
            "accel_estimate.tracing.script.program",
            str(writes),
            where,
            script,
            *words,
        ]
        environ = {**os.environ, "TMPDIR": folder, "ACCEL_ESTIMATE_SCRIPT": "1", "WANDB_MODE": "disabled", CARD: card}
        if processes is not None:
            environ |= launched(processes)
        try:
            process = subprocess.Popen(command, stdout=2, stdin=subprocess.DEVNULL, env=environ, pass_fds=(writes,))
        finally:
            os.close(writes)
        try:
            text = channel.read()
            status = process.wait()
        except BaseException:
            process.kill()
            process.wait()
            raise
    if not text:
        raise StoppedError(f"--script: the process of {script} ended with status {status}, without a report")
    return json.loads(text)


def launched(processes: int) -> dict[str, str]:
    """Return what a launcher sets for the first of several processes on one machine."""
    return {
        "RANK": "0",
        "LOCAL_RANK": "0",
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": "29500",
    }
