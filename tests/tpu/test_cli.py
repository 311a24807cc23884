"""`accel-tpu` by itself, and the library as other programs use it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.conftest import BIN
from tests.schedule import sampled
from tests.tpu.conftest import ZONE, Cloud


def accel_tpu(cloud: Cloud, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BIN / "accel-tpu", *words],
        env=cloud.environ,
        cwd=cloud.folder,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )


POD = ("--tpu_name", "pod", "--tpu_zone", ZONE)


def test_pod_run_takes_words_as_they_are(cloud: Cloud) -> None:
    words = ["-n", "a b", "", "$HOME", "é'\""]
    program = f"{sys.executable} -Sc 'import json, sys; print(json.dumps(sys.argv[1:]))'".split(" ", 2)
    done = accel_tpu(
        cloud, "pod", "run", *POD, "--worker", "1,3", "--", program[0], program[1], program[2].strip("'"), *words
    )
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == [f"[worker {place}] {json.dumps(words)}" for place in (1, 3)]


def test_pod_config_is_tpu_config(cloud: Cloud) -> None:
    done = accel_tpu(cloud, "pod", "config", *POD, "--command", "ls", "--debug")
    assert (
        done.stdout
        == f"gcloud compute tpus tpu-vm ssh pod --zone {ZONE} --command 'cd /usr/share || exit; ls' --worker all\n"
    )


def test_launch_is_the_launcher(cloud: Cloud) -> None:
    (cloud.folder / "x.py").write_text("import sys; sys.exit(5)")
    assert accel_tpu(cloud, "launch", "--cpu", "x.py").returncode == 5


USAGE = [
    [],
    ["pod"],
    ["nothing"],
    ["pod", "run", *POD],
    ["pod", "run", *POD, "--"],
    ["pod", "run", "--strange", "--", "ls"],
]


@pytest.mark.parametrize("words", sampled(USAGE, every=3))
def test_usage(cloud: Cloud, words: list[str]) -> None:
    done = accel_tpu(cloud, *words)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "usage: accel-tpu" in done.stderr
    assert accel_tpu(cloud, "--help").returncode == 0
    assert "--tpu_name" in accel_tpu(cloud, "pod", "run", "--help").stdout


def test_the_library(cloud: Cloud) -> None:
    source = f"""
from accel_tpu import Pod, run
from accel_config import AccelError
result = run(Pod("pod", "{ZONE}"), 'echo "$A"; [ "$HOME" = "${{HOME%2}}" ]', workers="1-2", env={{"A": "x y"}})
print(result.status, result.outcomes)
try:
    run(Pod("pot", "{ZONE}"), "true")
except AccelError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", source], env=cloud.environ, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    *out, status, error = done.stdout.splitlines()
    assert sorted(out) == ["[worker 1] x y", "[worker 2] x y"]
    assert status == "1 (('worker 1', 'ok'), ('worker 2', 'exit status 1'))"
    assert error.startswith(f"gcloud doesn't find the TPU pot in zone {ZONE}")
