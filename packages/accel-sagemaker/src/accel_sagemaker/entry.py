"""The program that a SageMaker container starts: it runs the user's script as on the user's machine.

The job's source has a copy of this file, and `accel_entry.json` in the same folder. SageMaker's toolkit would pass
the script only sorted ``--key value`` pairs, turn every exit status into 1, and not stop the script when it is
stopped itself. This program passes the script its exact arguments, forwards signals, and writes status and reason to
the file that SageMaker shows as the job's failure reason. It uses the standard library alone, from Python 3.8 on.
"""

from __future__ import annotations

import os
import sys

FOLDER = os.path.dirname(os.path.abspath(__file__))
if __name__ == "__main__":
    # The user's files are beside this one, and on PYTHONPATH: a pickle.py there is the script's, not ours.
    sys.path[:] = [path for path in sys.path if os.path.realpath(path or os.curdir) != os.path.realpath(FOLDER)]

import contextlib
import ctypes
import json
import signal
import subprocess
import tempfile
import threading
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

RECORDS = "ACCEL_SAGEMAKER_RECORDS"
"""The variable with the folder in which each failed rank of torch's agent leaves its status."""
FORWARDED = ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGCONT")
MASTER_PORT = "7777"
"""The port of the toolkit's own launchers, which existing security groups let through."""
KEPT = 32768
"""Bytes of standard error that are kept to find the reason."""
LONGEST = 1000
"""SageMaker shows 1024 characters of the failure file."""
HEAD = "Traceback (most recent call last):"
PR_SET_PDEATHSIG = 1
AGENT = "torch.distributed.run"
"""The module of torch's agent, which this program runs itself: ``python -m`` would look beside the script first."""


def main() -> int:
    """Run the script that `accel_entry.json` describes and return its exit status."""
    if sys.argv[1:2] == [AGENT]:
        import runpy

        del sys.argv[0]
        runpy.run_module(AGENT, run_name="__main__", alter_sys=True)
        return 0
    folder = FOLDER
    with open(os.path.join(folder, "accel_entry.json"), encoding="utf-8") as file:
        program = json.load(file)
    for name, text in program["environment"].items():
        os.environ.setdefault(name, text)  # mpirun passes only a few of the job's variables to other hosts
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    script = [sys.executable, os.path.join(folder, program["script"]), *program["arguments"]]
    if program["start"] == "toolkit":
        # We are a rank of the toolkit's mpirun or torchrun, which supervises it: become the script.
        os.execv(script[0], script)
    if RECORDS in os.environ:
        return rank(script, os.environ.pop(RECORDS))
    status, reason = agent(program["processes"]) if program["start"] == "agent" else run(script)
    if status:
        report(status, reason)
    return status


def run(argv: list[str]) -> tuple[int, str]:
    """Run a command to its end; return its exit status (128 + the number of a signal) and why it failed."""
    signal_on_parent_death(signal.SIGTERM)  # SIGTERM ends the toolkit, which doesn't forward it; the kernel does
    waiting: list[int] = []
    for name in FORWARDED:
        signal.signal(getattr(signal, name), lambda number, _frame: waiting.append(number))
    child = subprocess.Popen(
        argv,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal_on_parent_death(signal.SIGKILL),  # noqa: PLW1509
    )

    ended: list[bool] = []

    def forward(number: int, _frame: object) -> None:
        if not ended:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, number)

    for name in FORWARDED:
        signal.signal(getattr(signal, name), forward)
    for number in waiting:
        forward(number, None)
    tail = bytearray()
    pump = threading.Thread(target=copy, args=(child.stderr, tail), daemon=True)
    pump.start()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    ended.append(True)  # from here on its pid may be another process's
    code = child.wait()
    pump.join(5)  # a process that the script left behind may keep the stream open forever
    return code if code >= 0 else 128 - code, explain(code, tail.decode("utf-8", "replace"))


def signal_on_parent_death(number: int) -> None:
    """Let the kernel send a signal when our parent dies; on other systems than Linux, do nothing."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)


def copy(stream: Any, tail: bytearray) -> None:
    """Copy the stream to our own standard error as it arrives, and keep its end in ``tail``."""
    while True:
        piece = os.read(stream.fileno(), 65536)
        if not piece:
            return
        tail += piece
        del tail[:-KEPT]
        while piece:
            piece = piece[os.write(2, piece) :]


def explain(code: int, text: str) -> str:
    """Return in one line why a process failed, from its exit code and the end of its standard error."""
    if code < 0:
        name = {number.value: number.name for number in signal.Signals}.get(-code, f"signal {-code}")
        return "terminated by " + name + (": probably out of memory" if name == "SIGKILL" else "")
    start = text.rfind(HEAD)
    if start < 0 or code != 1:  # with another exit code, the process didn't end by the traceback
        lines = [line.rpartition("\r")[2].strip() for line in text.strip().splitlines()]
        return next((line for line in reversed(lines) if line), "nothing on standard error")
    exception, place = "", ""
    for line in text[start:].splitlines()[1:]:
        if line.startswith('  File "'):
            path, _, rest = line[8:].partition('", line ')
            inside = os.path.relpath(path, FOLDER)
            if not inside.startswith("..") or not place:
                place = f"{path if inside.startswith('..') else inside}:{rest.partition(',')[0]}"
        elif line and not line.startswith(" "):
            exception = line
            break
    return f"{exception} ({place})" if place else exception


def report(status: int, reason: str) -> None:
    """Write the status and the reason to the file that SageMaker reads; its toolkit keeps an existing file."""
    line = f"ExitCode {status}: {reason}"[:LONGEST]
    print("accel: the script failed: " + line, file=sys.stderr, flush=True)
    folder = os.environ.get("SM_OUTPUT_DIR") or os.path.join(
        os.environ.get("SAGEMAKER_BASE_DIR", "/opt/ml"), "output"
    )
    with contextlib.suppress(OSError):
        write(os.path.join(folder, "failure"), line)


def write(path: str, text: str) -> None:
    """Write a file that no reader sees half-written."""
    new = f"{path}.{os.urandom(8).hex()}"
    with open(new, "x", encoding="utf-8") as file:
        file.write(text)
    os.replace(new, path)


def agent(processes: int | None) -> tuple[int, str]:
    """Run torch's agent for this host's ranks; return the status and the reason of the rank that failed first."""
    hosts = json.loads(os.environ.get("SM_HOSTS", '["127.0.0.1"]'))
    own = hosts.index(os.environ.get("SM_CURRENT_HOST", hosts[0]))
    devices = int(os.environ.get("SM_NUM_GPUS") or 0) or int(os.environ.get("SM_NUM_NEURONS") or 0)
    if not devices:
        os.environ.setdefault("ACCELERATE_USE_CPU", "True")
    if os.environ.get("SM_NETWORK_INTERFACE_NAME"):
        for library in ("GLOO", "NCCL"):
            os.environ.setdefault(library + "_SOCKET_IFNAME", os.environ["SM_NETWORK_INTERFACE_NAME"])
    options = {
        "nnodes": len(hosts),
        "node_rank": own,
        "nproc_per_node": processes or devices or 1,
        "master_addr": hosts[0],
        "master_port": MASTER_PORT,
    }
    words = [f"--{name}={value}" for name, value in options.items()]
    with tempfile.TemporaryDirectory() as records:
        os.environ[RECORDS] = records
        status, reason = run([sys.executable, os.path.abspath(__file__), AGENT, *words, os.path.abspath(__file__)])
        ended = [read(os.path.join(records, name)) for name in os.listdir(records) if name.isdigit()]
    first = min(ended, default=None)
    if status and first is not None:
        return first[1], first[2]
    return status, reason


def rank(script: list[str], records: str) -> int:
    """Run the script as one of the agent's ranks, and record its status; the agent itself returns only 1."""
    status, reason = run(script)
    if status:
        number = os.environ["RANK"]
        with contextlib.suppress(OSError):
            write(os.path.join(records, number), json.dumps([time.time(), status, f"rank {number}: {reason}"]))
    return status


def read(path: str) -> list[Any]:
    """Return a rank's record: its time, its status, the reason."""
    with open(path, encoding="utf-8") as file:
        return json.load(file)


if __name__ == "__main__":
    sys.exit(main())
