"""`launch --tpu_cluster`: the training command on every worker of a pod, under the launcher's contract."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from accel_config.errors import AccelError
from accel_launch.planning.making import plan
from accel_tpu import gcloud, pod
from accel_tpu.gcloud import Answer, Pod
from tests.conftest import BIN, Resolve
from tests.launch.hosts import Still, host
from tests.tpu.conftest import ZONE, Cloud
from tests.tpu.test_tpu_config import by_worker, table

# A worker's Python: it has accel-tpu, and its launch prints its words and variables.
PYTHON = (
    f"#!{sys.executable} -S\n"
    """
import json, os, sys, time
words = sys.argv[1:]
if words[:1] == ["-c"]:
    sys.exit()
seen = {k: v for k, v in os.environ.items() if k not in ("HOME", "PATH")}
print(json.dumps({"words": words, "env": seen}), flush=True)
me = os.environ["HOME"][-1]
how = words[-1]
if how == "fail" and me == "2":
    time.sleep(0.5)
    print("Traceback (most recent call last):\\n  File \\"/home/me/train.py\\", line 3, in main\\nValueError: no luck", file=sys.stderr)
    sys.exit(3)
if how in ("fail", "wait"):
    time.sleep(60)
"""
)
NONE = "#!/bin/sh\necho \"ModuleNotFoundError: No module named 'accel_tpu'\" >&2\nexit 1\n"


def launch(cloud: Cloud, *words: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """Run ``accelerate launch`` for the pod to its end."""
    named = ["--tpu_name", "pod", "--tpu_zone", ZONE] if "--tpu_name" not in words else []
    return subprocess.run(
        [BIN / "accelerate", "launch", "--tpu_cluster", *named, *words],
        env=cloud.environ, cwd=cloud.folder, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def received(done: subprocess.CompletedProcess[str]) -> tuple[list[str], dict[str, str]]:
    """The words and variables of every worker's launch, the same for all."""
    lines = [json.loads(line) for lines in by_worker(done.stdout).values() for line in lines]
    assert len(lines) == 4
    assert all(line["words"] == lines[0]["words"] for line in lines)
    return lines[0]["words"], lines[0]["env"]


def test_every_worker_launches_the_script(cloud: Cloud) -> None:
    cloud.on_workers("python3", PYTHON)
    nasty = ["--lr", "1 2", "", "$HOME", "`id`", "'\"", "*", "a;b", "é"]
    done = launch(cloud, "--mixed_precision", "bf16", "--downcast_bf16", "--dynamo_backend", "inductor", "--debug",
                  "--main_training_function", "go", "--env", "A=x y; id", "--env", "B=$HOME", "train.py", *nasty)  # fmt: skip
    assert done.returncode == 0, done.stderr
    words, env = received(done)
    assert words[:6] == ["-P", "-m", "accel_tpu", "launch", "--tpu", "--no_tpu_cluster"]
    assert words[words.index("train.py") :] == ["train.py", *nasty]
    flags = words[6 : words.index("train.py")]
    assert set(flags) == {
        "--num_machines=1",
        "--mixed_precision=bf16",
        "--downcast_bf16",
        "--dynamo_backend=inductor",
        "--debug",
        "--main_training_function=go",
    }
    assert env.items() >= {"A": "x y; id", "B": "$HOME", "ACCELERATE_IN_TPU_POD": "1"}.items()
    assert "STANDIN" not in env, "no variable of this machine crosses"
    assert table(done.stderr) == {f"worker {place}": "ok" for place in range(4)}
    assert (
        "accel: 4 workers of the TPU pod in zone us-central1-a, XLA, precision bf16, engine tpu-pod\n" in done.stderr
    )


def test_the_flags_of_a_worker_give_the_script_its_variables(settings: Resolve, tmp_path: Path) -> None:
    """The flags that a worker gets, read as a worker reads them."""
    ours = settings(
        "--tpu_cluster",
        "--tpu_name",
        "pod",
        file="mixed_precision: bf16\ndowncast_bf16: 'yes'\ndebug: true\ndynamo_config:\n  dynamo_backend: INDUCTOR\n  dynamo_use_fullgraph: true\n",
    )
    (tmp_path / "train.py").write_text("def main(): pass\n")
    theirs = settings("--tpu", "--no_tpu_cluster", *pod.passed(ours))
    made = plan(
        theirs,
        host(environ={"PJRT_DEVICE": "CPU"}, cwd=str(tmp_path), probe=Still(modules=("torch_xla",))),
        ["train.py"],
    )
    assert made.engine == "tpu"
    assert made.commands[0].env.items() >= {
        "ACCELERATE_MIXED_PRECISION": "bf16", "ACCELERATE_DOWNCAST_BF16": "1", "XLA_DOWNCAST_BF16": "1",
        "ACCELERATE_DYNAMO_BACKEND": "INDUCTOR", "ACCELERATE_DYNAMO_USE_FULLGRAPH": "True", "ACCELERATE_DEBUG_MODE": "true",
    }.items()  # fmt: skip
    assert "ACCELERATE_USE_CPU" not in made.commands[0].env


@pytest.mark.exhaustive
def test_the_dry_run_asks_nothing_and_pastes(cloud: Cloud) -> None:
    cloud.on_workers("python3", PYTHON)
    done = launch(cloud, "--dry_run", "--env", "A=x y", "train.py", "a b")
    assert done.returncode == 0, done.stderr
    assert not cloud.calls
    lines = done.stdout.splitlines()
    line = shlex.split(lines[-1])
    assert line[:6] == ["gcloud", "compute", "tpus", "tpu-vm", "ssh", "pod"]
    assert line[-2:] == ["--worker", "all"]
    pasted = subprocess.run(
        ["sh", "-c", done.stdout], env=cloud.environ, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    assert pasted.returncode == 0
    assert [json.loads(line)["words"][-2:] for line in pasted.stdout.splitlines()] == [["train.py", "a b"]] * 4
    assert json.loads(launch(cloud, "--dry_run", "--json", "train.py").stdout)["engine"] == "tpu-pod"
    secret = launch(cloud, "--dry_run", "--env", "API_KEY=sesame", "train.py").stdout
    assert "sesame" not in secret
    assert "# note: not shown: API_KEY; put the value where *** stands\n" in secret


@pytest.mark.exhaustive
def test_when_one_fails_the_others_are_ended(cloud: Cloud) -> None:
    cloud.on_workers("python3", PYTHON)
    began = time.monotonic()
    done = launch(cloud, "train.py", "fail")
    assert done.returncode == 3
    assert time.monotonic() - began < 20
    assert "accel: worker 2 failed first\n  cause: exit status 3\n  last line: ValueError: no luck\n" in done.stderr
    assert table(done.stderr) == {
        "worker 0": "exit status 143",
        "worker 1": "exit status 143",
        "worker 2": "exit status 3",
        "worker 3": "exit status 143",
    }
    assert not cloud.started()


@pytest.mark.exhaustive
def test_an_interrupt_reaches_every_worker(cloud: Cloud) -> None:
    cloud.on_workers("python3", PYTHON)
    with cloud.start("launch", "--tpu_cluster", "train.py", "wait") as running:
        assert running.stdout is not None
        for _worker in range(4):
            running.stdout.readline()
        running.send_signal(signal.SIGINT)
        _out, err = running.communicate(timeout=30)
    assert running.returncode == -signal.SIGINT
    assert table(err) == {f"worker {place}": "exit status 130" for place in range(4)}
    assert not cloud.started()


def test_a_pod_without_accel_tpu_gets_the_command_that_installs_it(cloud: Cloud) -> None:
    cloud.on_workers("python3", NONE)
    done = launch(cloud, "train.py")
    assert done.returncode == 2
    assert done.stdout == ""
    first, line = done.stderr.splitlines()
    assert first == "accelerate launch: worker 0 has no accel-tpu for python3; install it with:"
    words = shlex.split(line.removeprefix("accelerate launch: "))
    assert words[-4:] == ["--command", "python3 -m pip install accel-tpu", "--worker", "all"]
    assert [call for call in cloud.calls if "ssh" in call and "--worker" in call and call[-1] != "0"] == []


def test_a_pod_without_that_python_is_one_message(cloud: Cloud) -> None:
    done = launch(cloud, "--python", "python9", "train.py")
    assert done.returncode == 2
    assert done.stderr == "accelerate launch: worker 0 has no python9; name its Python interpreter with --python\n"


@pytest.mark.exhaustive
def test_sudo_and_another_python(cloud: Cloud) -> None:
    cloud.on_workers("sudo", '#!/bin/sh\nexec /usr/bin/env -i ROOT=1 PATH="$PATH" HOME="$HOME" SHELL="$SHELL" "$@"\n')
    cloud.on_workers("py3.11", PYTHON)
    done = launch(cloud, "--tpu_use_sudo", "--python", "py3.11", "--env", "A=b", "train.py")
    assert done.returncode == 0, done.stderr
    words, env = received(done)
    assert env.items() >= {"ROOT": "1", "A": "b", "ACCELERATE_IN_TPU_POD": "1"}.items()
    assert "--python" not in " ".join(words)


@pytest.mark.exhaustive
def test_vms_by_name(cloud: Cloud) -> None:
    cloud.save(vms=["0", "1", "2", "3"])
    cloud.on_workers("python3", PYTHON)
    done = launch(
        cloud, "--tpu_name", "", *(word for name in "0123" for word in ("--vm", name)), "--tpu_zone", ZONE, "train.py"
    )
    assert done.returncode == 0, done.stderr
    assert sorted(by_worker(done.stdout)) == ["0", "1", "2", "3"]


def test_the_script_need_not_be_here_and_no_python_is_refused(cloud: Cloud) -> None:
    done = launch(cloud, "--no_python", "train.sh")
    assert done.returncode == 2
    assert "no_python (--no_python): a TPU runs a function of a Python script" in done.stderr


@pytest.mark.exhaustive
def test_log_files_of_every_worker(cloud: Cloud) -> None:
    cloud.on_workers("python3", PYTHON)
    done = launch(cloud, "--log_dir", "logs", "--report", "report.json", "train.py")
    assert done.returncode == 0, done.stderr
    assert len(list((cloud.folder / "logs").rglob("stdout.log"))) == 4
    report = json.loads((cloud.folder / "report.json").read_text())
    assert report["outcomes"] == {f"worker {place}": "ok" for place in range(4)}


# Pure.


@pytest.mark.exhaustive
def test_no_command_line_holds_the_variables_of_the_workers(cloud: Cloud) -> None:
    """Everybody on a machine can read every command line there: on this one, and on each worker."""
    pause = "import sys, time\ntime.sleep(0.3 if sys.argv[1:2] == ['-c'] else 60)\n"
    cloud.on_workers("python3", f"#!{sys.executable} -S\n{pause}")
    (cloud.folder / "c.yaml").write_text("tpu_env: [MY_WORD=open-sesame]\nmixed_precision: bf16\n")
    (cloud.folder / "train.py").touch()
    popen = cloud.start("launch", "--tpu_cluster", "--config_file", "c.yaml", "train.py")
    seen, arrived = 0, False
    deadline = time.monotonic() + 60
    while not arrived:
        assert popen.poll() is None, popen.communicate()
        assert time.monotonic() < deadline
        for process in psutil.process_iter():
            try:
                words = process.cmdline()
                arrived |= words[-1:] == ["train.py"] and process.environ().get("MY_WORD") == "open-sesame"
            except psutil.Error:
                continue
            assert not any("open-sesame" in word for word in words), words
            seen += any("gcloud" in word for word in words)
    popen.send_signal(signal.SIGTERM)
    popen.communicate(timeout=60)
    assert seen > 4
    assert not any("open-sesame" in text for worker in range(4) for text in cloud.received(str(worker)))
    assert "open-sesame" not in json.dumps(cloud.calls)


def test_a_pod_is_described_once_and_networks_are_no_workers() -> None:
    asked: list[tuple[str, ...]] = []

    def ask(argv: tuple[str, ...]) -> Answer:
        asked.append(argv)
        return Answer(0, json.dumps({"state": "READY", "networkConfigs": [{}, {}], "networkEndpoints": [{}] * 8}), "")

    assert gcloud.count_workers(Pod("pod", ZONE), ask) == 4
    assert asked == [("gcloud", "compute", "tpus", "tpu-vm", "describe", "pod", "--zone", ZONE, "--format", "json")]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("", "can't be read: ''"),
        ("[]", "can't be read"),
        ('{"networkEndpoints": 3}', "can't be read"),
        ('{"state": "PREEMPTED"}', "is PREEMPTED; start it"),
        ('{"state": "CREATING", "networkEndpoints": []}', "has no workers; gcloud reports its state as CREATING"),
        ("{}", "has no workers; gcloud reports its state as unknown"),
    ],
)
def test_a_description_without_workers(answer: str, message: str) -> None:
    with pytest.raises(AccelError, match=message):
        gcloud.count_workers(Pod("pod"), lambda _argv: Answer(0, answer, ""))


@pytest.mark.parametrize(
    ("err", "message"),
    [
        ("ERROR: (gcloud.x) You do not currently have an active account selected.", "gcloud isn't logged in"),
        ("ERROR: There was a problem refreshing your current auth tokens: x\nPlease run:\n $ gcloud auth login", "gcloud isn't logged in"),
        ("ERROR: (gcloud.x) NOT_FOUND: Resource 'projects/p/locations/z/nodes/n' was not found", "gcloud doesn't find the TPU n in zone z"),
        ("ERROR: (gcloud.x) PERMISSION_DENIED: Location z is not found or access is unauthorized.", "gcloud doesn't find zone z"),
        ("WARNING: w\nERROR: (gcloud.x) RESOURCE_EXHAUSTED: quota\nmore", "gcloud failed with exit status 1: ERROR: (gcloud.x) RESOURCE_EXHAUSTED: quota"),
        ("", "gcloud failed with exit status 1: no error message"),
    ],
)  # fmt: skip
def test_complaints(err: str, message: str) -> None:
    assert gcloud.complaint(Answer(1, "", err), Pod("n", "z")).startswith(message)


def test_selections() -> None:
    assert pod.select("ALL", 3) == ("0", "1", "2")
    assert pod.select(" 2, 0-1,1", 3) == ("0", "1", "2")
    for wrong in ("", "-1", "1-", "a", "1,,2", "0x1", "3"):
        with pytest.raises(AccelError, match="--worker"):
            pod.select(wrong, 3)
