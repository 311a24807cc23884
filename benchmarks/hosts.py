"""`--hosts` to the first line of all ranks, beside what one ssh connection takes, on machines of network namespaces.

    uv run python benchmarks/hosts.py [--machines 8] [--rounds 5] [--torch]

It needs root, `ip` and OpenSSH's client and server. All machines share the cores of this one, so that the import of
torch by an agent on each would be most of what is measured: without --torch, a stand-in of a few lines is the agent.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.launch.machines import Network
from tests.launch.sshd import Daemons
from tests.launch.user import without_torch

ACCELERATE = Path(sys.executable).parent / "accelerate"
SCRIPT = "import os\nprint(os.environ['RANK'], flush=True)\n"


def main() -> None:
    """Measure, and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--machines", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--torch", action="store_true", help="with torch's own agents")
    options = parser.parse_args()
    sshd = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/usr/bin")
    if sshd is None:
        sys.exit("openssh-server isn't installed")
    network = Network(options.machines)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        network.open()
        made = Daemons(network, folder / "ssh", sshd)
        try:
            made.start()
            measure(network, made, folder, options)
        finally:
            made.stop()
            network.close()


def measure(network: Network, made: Daemons, folder: Path, options: argparse.Namespace) -> None:
    """Measure one ssh connection, and launches on all machines, by turns."""
    (folder / "train.py").write_text(SCRIPT)
    fake = () if options.torch else without_torch(folder)
    inside = ["ip", "netns", "exec", network.space(0)]
    environ = made.environ(dict(os.environ))
    hosts = f"n[0-{options.machines - 1}]"
    launch = [*inside, ACCELERATE, "launch", "--cpu", "--hosts", hosts, "--nproc_per_node", "1", *fake, "train.py"]
    connected, together, started = list[float](), list[float](), list[float]()
    for _round in range(options.rounds):
        began = time.perf_counter()
        subprocess.run([*inside, "ssh", "-o", "RemoteCommand=none", "n1", "true"], env=environ, check=True)
        connected.append(time.perf_counter() - began)
        began = time.perf_counter()
        calls = [
            subprocess.Popen([*inside, "ssh", "-o", "RemoteCommand=none", f"n{n}", "true"], env=environ)
            for n in range(options.machines)
        ]
        assert not any(call.wait() for call in calls)
        together.append(time.perf_counter() - began)
        began = time.perf_counter()
        with subprocess.Popen(launch, env=environ, cwd=folder, stdout=subprocess.PIPE, text=True) as running:
            assert running.stdout is not None
            lines = [running.stdout.readline() for _ in range(options.machines)]
            started.append(time.perf_counter() - began)
        assert sorted(lines) == [f"{rank}\n" for rank in range(options.machines)], lines
    print(f"{options.machines} ssh connections at once: {statistics.median(together):.2f} s")
    one, all_ = statistics.median(connected), statistics.median(started)
    load = os.getloadavg()[0]
    print(f"one ssh connection: {one:.2f} s; first line of {options.machines} machines: {all_:.2f} s", end=" ")
    print(f"({all_ - one:.2f} s more, best {min(started):.2f} s; {os.cpu_count()} cores, load {load:.0f})")


if __name__ == "__main__":
    main()
