"""What checks work with: the launcher, scripts for ranks, the driver, and what torch sees."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.gpu_checks.check import NotSeenError
from benchmarks.gpu_checks.driver import Driver, Gpu

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

ROOT = Path(__file__).resolve().parents[2]
RANKS = Path(__file__).parent / "ranks"
MARK = "GPU-CHECK "
"""How the lines begin that scripts of `ranks/` print for a check; JSON follows."""
GIB = 1 << 30
NOWHERE = 999
"""The number of a device that no machine has."""
OTHERS = ("ACCELERATE_", "PYTORCH_", "TORCH_", "CUBLAS_", "MASTER_")
"""How variables begin that would change what checks see: settings of other launches, and of torch's allocator."""
SINGLE = {"RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "CUDA_LAUNCH_BLOCKING", "PYTHONDONTWRITEBYTECODE"}
"""Further ones; with the last one each process would compile torch anew."""


Variables = Mapping[str, str] | None
"""Of the environment, beside `Bench.environ`."""


class Done(NamedTuple):
    """A command that has ended."""

    status: int
    out: str
    err: str
    seconds: float

    @property
    def told(self) -> list[dict[str, Any]]:
        """What its ranks told, in their order."""
        return told(self.out)

    @property
    def last(self) -> str:
        """Its last line, or how it ended without any."""
        lines = (self.out + self.err).strip().splitlines()
        return f"exit status {self.status}: {lines[-1].strip()[:200] if lines else 'it printed nothing'}"

    def only(self) -> dict[str, Any]:
        """Return what its one rank told.

        Raises:
            RuntimeError: it told nothing, which is shown with the end of its output.
        """
        if not self.told:
            raise RuntimeError(f"the script told nothing; {self.last}")
        return self.told[0]


def told(text: str) -> list[dict[str, Any]]:
    """Return what scripts told in their output so far."""
    whole = text[: text.rfind("\n") + 1]
    lines = (line.partition(MARK) for line in whole.splitlines())
    return [json.loads(rest) for _, mark, rest in lines if mark]


class Begun:
    """A command that runs; its output is in a file."""

    def __init__(self, process: subprocess.Popen[bytes], file: Path, patience: float) -> None:
        self.process, self.file, self.began, self.patience = process, file, time.monotonic(), patience

    @property
    def text(self) -> str:
        """What it has printed so far."""
        return self.file.read_text(errors="replace")

    def wait_for(self, key: str, seconds: float) -> dict[str, Any]:
        """Return the first thing with a key that a rank tells.

        Raises:
            RuntimeError: it doesn't come in time, or the command ends before.
        """
        while True:
            ended, late = self.process.poll() is not None, time.monotonic() - self.began > seconds * self.patience
            found = [one for one in told(self.text) if key in one]
            if found:
                return found[0]
            if ended or late:
                lines = self.text.strip().splitlines() or ["it printed nothing"]
                state = f"ended with {self.process.returncode}" if ended else f"hasn't told {key} in {seconds:g} s"
                raise RuntimeError(f"the script {state}: {lines[-1][:200]}")
            time.sleep(0.05)

    def end(self, seconds: float = 20.0) -> int:
        """Interrupt it; return its exit status, after killing it if it takes longer."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


class Bench:
    """The machine as checks see it. ``facts`` are what torch sees (`ranks/facts.py`)."""

    def __init__(self, folder: Path, facts: dict[str, Any], *, rehearse: bool, seconds: float = 0.0) -> None:
        self.folder, self.facts, self.rehearse = folder, facts, rehearse
        self.seconds = seconds
        """What the check that runs has, at most."""
        self.driver = Driver()
        self.patience = 5.0 if rehearse else 1.0
        """By how much every limit is longer: a rehearsal may share its CPUs with other work."""
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def environ(self) -> dict[str, str]:
        """The environment of what checks start, without the user's settings. A rehearsal says there is a device."""
        found = {
            name: text for name, text in os.environ.items() if not name.startswith(OTHERS) and name not in SINGLE
        }
        found |= {"XDG_STATE_HOME": str(self.folder / "state"), "OMP_NUM_THREADS": "1"}
        found |= {"HF_HOME": str(self.folder / "home"), "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
        found |= {"ACCELERATE_LAUNCH_NO_SCHEDULER": "true"}
        return found | ({"ACCELERATE_LAUNCH_NUM_DEVICES": "1"} if self.rehearse else {})

    @property
    def shared(self) -> dict[str, str]:
        """The variables with which two ranks share the first device.

        The launcher is told of a device that doesn't exist. CUDA's list ends there, so that each rank sees the first.
        """
        first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").partition(",")[0]
        return {"ACCELERATE_LAUNCH_NUM_DEVICES": f"{NOWHERE + 1}", "CUDA_VISIBLE_DEVICES": f"{first},{NOWHERE}"}

    @cached_property
    def uuid(self) -> str:
        """The UUID of the device that checks use, the first that is visible, as the driver writes it."""
        seen = [named(one) for one in self.facts.get("devices", ()) if one["uuid"]]
        slices = self.driver.slices() if not seen and any(gpu.mig == "Enabled" for gpu in self.gpus) else []
        return next(iter(seen or slices or [gpu.uuid for gpu in self.gpus]), "")

    @cached_property
    def gpus(self) -> list[Gpu]:
        """The devices that nvidia-smi lists. Each question to it can take seconds."""
        return self.driver.gpus()

    @property
    def device(self) -> str:
        """Where ranks compute."""
        return "cpu" if self.rehearse else "cuda"

    def used(self) -> int:
        """Return the bytes that are held on the device, by the driver.

        Raises:
            NotSeenError: the driver doesn't tell.
        """
        found = self.driver.used(self.uuid)
        if found is None:
            raise NotSeenError(
                "nvidia-smi doesn't tell memory.used of the device ([N/A], as on MIG and unified memory)"
            )
        return found

    def amount(self, gibibytes: float) -> float:
        """Return an amount that fits: this many GiB, or less where not so many are free."""
        free = self.facts.get("free")
        return gibibytes if free is None else min(gibibytes, 0.6 * free / GIB)

    def ours(self, *words: str) -> list[str]:
        """Return the words of one of our commands."""
        return [sys.executable, "-m", "accel_cli", *words]

    def launch(
        self, flags: str, script: str | Path, *words: str, seconds: float = 90, variables: Variables = None
    ) -> Done:
        """Start a script with `accelerate launch` and these flags, and wait for its end."""
        return self.run(self.ours("launch", *flags.split(), str(RANKS / script), *words), seconds, variables)

    def run(self, words: Sequence[str], seconds: float, variables: Variables = None) -> Done:
        """Run a command to its end.

        Raises:
            RuntimeError: it takes longer.
        """
        begun = time.monotonic()
        try:
            done = subprocess.run(
                words, capture_output=True, text=True, errors="replace", timeout=seconds * self.patience, check=False,
                cwd=self.folder, env={**self.environ, **(variables or {})}, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            lines = ((error.stdout or b"") + (error.stderr or b"")).decode(errors="replace").strip().splitlines()
            raise RuntimeError(f"{words[2:4]} takes longer than {seconds:g} s; {lines[-1:]}") from None
        taken = time.monotonic() - begun
        sys.stderr.write(f"$ {' '.join(words)}\n{done.stdout}{done.stderr}[{done.returncode}, {taken:.1f} s]\n")
        return Done(done.returncode, done.stdout, done.stderr, taken)

    @contextmanager
    def running(self, flags: str, script: str | Path, *words: str, variables: Variables = None) -> Generator[Begun]:
        """Start a script with `accelerate launch`; end it after the block."""
        file = self.folder / f"output-{time.monotonic_ns()}"
        with file.open("wb") as output:
            process = subprocess.Popen(
                self.ours("launch", *flags.split(), str(RANKS / script), *words),
                stdout=output, stderr=output, stdin=subprocess.DEVNULL,
                cwd=self.folder, env={**self.environ, **(variables or {})},
            )  # fmt: skip
        begun = Begun(process, file, self.patience)
        try:
            yield begun
        finally:
            begun.end()
            sys.stderr.write(f"$ launch {flags} {script}\n{begun.text}[{process.returncode}]\n")

    def report(self, file: str) -> dict[str, Any]:
        """Return what `--report FILE` wrote."""
        return json.loads((self.folder / file).read_text())

    def failure(self, file: str) -> dict[str, Any]:
        """Return the first failure in what `--report FILE` wrote; empty if nothing failed."""
        return self.report(file)["failure"] or {}


def named(device: Mapping[str, Any]) -> str:
    """Return the UUID of a device that torch sees as the driver writes it: a slice's (MIG) begins otherwise."""
    bare = device["uuid"].removeprefix("GPU-").removeprefix("MIG-")
    return f"MIG-{bare}" if " MIG " in device["name"] else f"GPU-{bare}"


def gib(size: float | None) -> str:
    """Return bytes as people read them."""
    return "-" if size is None else f"{size / GIB:.2f} GiB"
