"""The program that a SageMaker container starts: it runs the user's script as it would run at home.

A copy of this file lies in the job's source, with `accel_entry.json` beside it. SageMaker's toolkit would hand the
script only sorted ``--key value`` pairs, turn every exit status into 1, and leave the script alone when it is told to
stop. This program gives the script its exact arguments, passes signals on, and leaves status and reason in the file
that SageMaker shows as the job's failure reason. Standard library only, for Python 3.8 and later.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

RECORDS = "ACCEL_SAGEMAKER_RECORDS"
"""Set for the ranks of torch's agent: the folder in which each that fails leaves its status."""
PASSED_ON = ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGCONT")
MASTER_PORT = "7777"
"""As the toolkit's own launchers use: security groups that were made for those let it through."""
KEPT = 32768
"""Bytes of standard error that are kept to tell the reason from."""
LONGEST = 1000
"""SageMaker shows 1024 characters of the failure file."""
HEAD = "Traceback (most recent call last):"
PR_SET_PDEATHSIG = 1


def main() -> int:
    """Run what `accel_entry.json` says and return its exit status."""
    here = os.path.dirname(os.path.abspath(__file__))
    with open(os.path.join(here, "accel_entry.json"), encoding="utf-8") as file:
        program = json.load(file)
    for name, text in program["environment"].items():
        os.environ.setdefault(name, text)  # mpirun hands on only few of the job's variables to other hosts
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    script = [sys.executable, os.path.join(here, program["script"]), *program["arguments"]]
    if program["start"] == "toolkit":
        # We are a rank of the toolkit's mpirun or torchrun, which look after their ranks: become the script.
        os.execv(script[0], script)
    if RECORDS in os.environ:
        return rank(script, os.environ.pop(RECORDS))
    status, reason = agent(program["processes"]) if program["start"] == "agent" else carry(script)
    if status:
        report(status, reason)
    return status


def carry(argv: list[str]) -> tuple[int, str]:
    """Run a command to its end; return its exit status (128 and the signal, if one ended it) and why it failed."""
    tie(signal.SIGTERM)  # the toolkit dies of a SIGTERM without telling us: the kernel does
    waiting: list[int] = []
    for name in PASSED_ON:
        signal.signal(getattr(signal, name), lambda number, _frame: waiting.append(number))
    child = subprocess.Popen(argv, stderr=subprocess.PIPE, preexec_fn=lambda: tie(signal.SIGKILL))  # noqa: PLW1509

    def hand_on(number: int, _frame: object) -> None:
        if child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, number)

    for name in PASSED_ON:
        signal.signal(getattr(signal, name), hand_on)
    for number in waiting:
        hand_on(number, None)
    tail = bytearray()
    pump = threading.Thread(target=copy, args=(child.stderr, tail), daemon=True)
    pump.start()
    code = child.wait()
    pump.join(5)  # a process that the script left behind may hold the stream open for ever
    return code if code >= 0 else 128 - code, explain(code, tail.decode("utf-8", "replace"))


def tie(number: int) -> None:
    """Ask the kernel for a signal when our parent dies; only Linux can."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)


def copy(stream: Any, tail: bytearray) -> None:
    """Copy the stream to our own standard error as it comes, and keep its end in ``tail``."""
    while True:
        piece = os.read(stream.fileno(), 65536)
        if not piece:
            return
        tail += piece
        del tail[:-KEPT]
        while piece:
            piece = piece[os.write(2, piece) :]


def explain(code: int, text: str) -> str:
    """Return in one line why a process that ended so failed, as far as its standard error tells."""
    if code < 0:
        name = {number.value: number.name for number in signal.Signals}.get(-code, f"signal {-code}")
        return "ended by " + name + (": out of memory, most likely" if name == "SIGKILL" else "")
    start = text.rfind(HEAD)
    if start < 0 or code != 1:  # with another status, a traceback on its way was not what ended it
        lines = [line.rpartition("\r")[2].strip() for line in text.strip().splitlines()]
        return next((line for line in reversed(lines) if line), "no word on standard error")
    exception, place = "", ""
    for line in text[start:].splitlines()[1:]:
        if line.startswith('  File "'):
            path, _, rest = line[8:].partition('", line ')
            inside = os.path.relpath(path, os.path.dirname(os.path.abspath(__file__)))
            if not inside.startswith("..") or not place:
                place = f"{path if inside.startswith('..') else inside}:{rest.partition(',')[0]}"
        elif line and not line.startswith(" "):
            exception = line
            break
    return f"{exception} ({place})" if place else exception


def report(status: int, reason: str) -> None:
    """Leave the status and the reason where SageMaker looks; its toolkit keeps what is there already."""
    line = f"ExitCode {status}: {reason}"[:LONGEST]
    print("accel: the script failed: " + line, file=sys.stderr, flush=True)
    folder = os.environ.get("SM_OUTPUT_DIR") or os.path.join(
        os.environ.get("SAGEMAKER_BASE_DIR", "/opt/ml"), "output"
    )
    with contextlib.suppress(OSError):
        write(os.path.join(folder, "failure"), line)


def write(path: str, text: str) -> None:
    """Write a file so that nobody ever sees half of it."""
    with open(path + ".new", "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(path + ".new", path)


def agent(processes: int | None) -> tuple[int, str]:
    """Run torch's agent for this host's ranks; return the status and the reason of the rank that failed first."""
    hosts = json.loads(os.environ.get("SM_HOSTS", '["127.0.0.1"]'))
    here = hosts.index(os.environ.get("SM_CURRENT_HOST", hosts[0]))
    devices = int(os.environ.get("SM_NUM_GPUS") or 0) or int(os.environ.get("SM_NUM_NEURONS") or 0)
    if not devices:
        os.environ.setdefault("ACCELERATE_USE_CPU", "True")
    if os.environ.get("SM_NETWORK_INTERFACE_NAME"):
        for library in ("GLOO", "NCCL"):
            os.environ.setdefault(library + "_SOCKET_IFNAME", os.environ["SM_NETWORK_INTERFACE_NAME"])
    options = {
        "nnodes": len(hosts),
        "node_rank": here,
        "nproc_per_node": processes or devices or 1,
        "master_addr": hosts[0],
        "master_port": MASTER_PORT,
    }
    words = [f"--{name}={value}" for name, value in options.items()]
    with tempfile.TemporaryDirectory() as records:
        os.environ[RECORDS] = records
        status, reason = carry([sys.executable, "-m", "torch.distributed.run", *words, os.path.abspath(__file__)])
        ended = [read(os.path.join(records, name)) for name in os.listdir(records) if name.isdigit()]
    first = min(ended, default=None)
    if status and first is not None:
        return first[1], first[2]
    return status, reason


def rank(script: list[str], records: str) -> int:
    """Run the script as one of the agent's ranks, and leave its status for us above the agent, which gives only 1."""
    status, reason = carry(script)
    if status:
        number = os.environ["RANK"]
        with contextlib.suppress(OSError):
            write(os.path.join(records, number), json.dumps([time.time(), status, f"rank {number}: {reason}"]))
    return status


def read(path: str) -> list[Any]:
    """Return a rank's record: when, status, reason."""
    with open(path, encoding="utf-8") as file:
        return json.load(file)


if __name__ == "__main__":
    sys.exit(main())
