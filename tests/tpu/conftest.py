"""A pod of four workers behind a strict stand-in for gcloud."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.conftest import BIN

STANDIN = Path(__file__).with_name("gcloud.py")
ZONE = "us-central1-a"
NAMED = ("--tpu_name", "pod", "--tpu_zone", ZONE)


class Cloud:
    """What is at the other end of gcloud, and what came there."""

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        self.folder = folder
        self.sshd: subprocess.Popen[bytes]
        (folder / "bin").mkdir(parents=True)
        self.key = folder / "home" / ".ssh" / "google_compute_engine"
        self.key.parent.mkdir(parents=True)
        self.key.touch()  # as after the first connection ever
        program = folder / "bin" / "gcloud"
        program.write_text(f'#!/bin/sh\nexec {sys.executable} {STANDIN} "$@"\n')
        program.chmod(0o755)
        self.environ = {
            **environ,
            "STANDIN": str(folder),
            "HOME": str(folder / "home"),
            "HF_HOME": str(folder / "home"),
            "PATH": f"{folder / 'bin'}:{environ['PATH']}",
        }
        self.state: dict[str, Any] = {"zones": [ZONE], "tpus": {"pod": {"zone": ZONE, "workers": 4}}, "pause": 0.05}
        self.save()

    def save(self, **changes: Any) -> None:
        self.state.update(changes)
        (self.folder / "state.json").write_text(json.dumps(self.state))

    def on_workers(self, name: str, text: str) -> None:
        """Put a program on the PATH of every worker."""
        for worker in range(4):
            folder = self.folder / f"worker-{worker}" / "bin"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
            (folder / name).chmod(0o755)

    @property
    def calls(self) -> list[list[str]]:
        path = self.folder / "calls.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def received(self, worker: str) -> list[str]:
        path = self.folder / f"worker-{worker}.received"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def start(self, *words: str, name: tuple[str, ...] = NAMED) -> subprocess.Popen[str]:
        """Start ``accelerate`` on the pod with these words."""
        return subprocess.Popen(
            [BIN / "accelerate", words[0], *name, *words[1:]],
            env=self.environ, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def started(self) -> list[psutil.Process]:
        """Every process of gcloud, of ssh, and of the workers' commands."""
        found: list[psutil.Process] = []
        for process in psutil.process_iter():
            try:
                if process.pid == self.sshd.pid:
                    continue
                if process.environ().get("STANDIN") == str(self.folder) or str(self.folder) in process.environ().get(
                    "HOME", ""
                ):
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def runs(self, command: str) -> bool:
        """Whether a worker runs this command."""
        facts = (process.info for process in psutil.process_iter(["cmdline", "environ"]))
        return any(
            fact["cmdline"] == command.split() and str(self.folder) in (fact["environ"] or {}).get("HOME", "")
            for fact in facts
        )


@pytest.fixture
def cloud(tmp_path: Path, environ: dict[str, str]) -> Iterator[Cloud]:
    made = Cloud(tmp_path / "cloud", environ)
    with subprocess.Popen([sys.executable, STANDIN, "--sshd"], env=made.environ) as made.sshd:
        while not (made.folder / "sshd").exists():
            assert made.sshd.poll() is None
            time.sleep(0.01)
        yield made
        for process in made.started():  # ours by their environment: what a failing test leaves
            process.kill()
        made.sshd.kill()


Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def tpu_config(cloud: Cloud, tmp_path: Path) -> Command:
    """Run ``accelerate tpu-config`` on the pod, to its end."""

    def run(
        *words: str, name: str = "pod", zone: str = ZONE, timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        named = [*(["--tpu_name", name] if name else []), *(["--tpu_zone", zone] if zone else [])]
        return subprocess.run(
            [BIN / "accelerate", "tpu-config", *named, *words],
            env=cloud.environ, cwd=tmp_path, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    return run
