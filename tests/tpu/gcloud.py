#!/usr/bin/env python3
"""A stand-in for gcloud and for the workers behind it, as strict as the real ones where we meet them.

Written from the observable behaviour of the Google Cloud CLI's `compute tpus tpu-vm ssh`, `… describe` and
`compute ssh`. It runs as the program ``gcloud`` on PATH. ``STANDIN`` names a folder with ``state.json`` (what exists,
and what goes wrong where) and gets ``calls.jsonl`` (every command line), ``worker-K/`` (a home) and
``worker-K.received`` (what its login shell was given, one JSON text a line).

What it keeps of the real one: release tracks have flags of their own, unknown flags end with 2 before anything else, a
value can't begin with a dash, login and project come before the name, then the zone, then the node and its state, then
the workers. The command is split at single blanks and joined by ssh again; ssh is a process of its own that carries the
three streams, so it can die while the worker's process lives. The login shell is run without a terminal, in a session
of its own, in the login's home, with a login's environment. A status of 255 is ssh's own, and is tried ten times.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(os.environ["STANDIN"])
STATE: dict[str, Any] = json.loads((ROOT / "state.json").read_text())
SSH_FAILED = 255

WIDE = {"--project": 1, "--quiet": 0, "-q": 0, "--format": 1, "--verbosity": 1, "--account": 1}
SSH = {
    "--zone": 1, "--command": 1, "--dry-run": 0, "--force-key-file-overwrite": 0, "--internal-ip": 0, "--plain": 0,
    "--ssh-flag": 1, "--ssh-key-file": 1, "--strict-host-key-checking": 1, "--ssh-key-expiration": 1,
    "--ssh-key-expire-after": 1,
}  # fmt: skip
FLAGS = {
    ("compute", "tpus", "tpu-vm", "ssh"): {**SSH, "--worker": 1, "--output-directory": 1},
    ("compute", "tpus", "tpu-vm", "describe"): {"--zone": 1},
    ("compute", "ssh"): {**SSH, "--tunnel-through-iap": 0, "--container": 1, "--troubleshoot": 0},
}
ALPHA = {"--batch-size": 1, "--tunnel-through-iap": 0}


def fail(command: tuple[str, ...], message: str, status: int = 1) -> NoReturn:
    print(f"ERROR: (gcloud.{'.'.join(command)}) {message}", file=sys.stderr)
    sys.exit(status)


def parse(words: list[str]) -> tuple[tuple[str, ...], list[str], dict[str, str]]:
    """Return the command, its positional words and its flags; refuse what gcloud refuses."""
    alpha = words[:1] == ["alpha"]
    words = words[1:] if alpha else words
    command = next((known for known in FLAGS if tuple(words[: len(known)]) == known), None)
    if command is None:
        print(f"ERROR: (gcloud) Invalid choice: '{' '.join(words[:4])}'.", file=sys.stderr)
        sys.exit(2)
    known = {**WIDE, **FLAGS[command], **(ALPHA if alpha and command[-1] == "ssh" else {})}
    flags: dict[str, str] = {}
    names: list[str] = []
    rest = words[len(command) :]
    while rest:
        word = rest.pop(0)
        flag, equals, value = word.partition("=")
        if not word.startswith("-"):
            names.append(word)
        elif flag not in known:
            fail(command, f"unrecognized arguments: {word}", 2)
        elif not known[flag]:
            flags[flag] = ""
        elif equals:
            flags[flag] = value
        elif not rest or rest[0].startswith("-"):
            fail(command, f"argument {flag}: expected one argument", 2)
        else:
            flags[flag] = rest.pop(0)
    if len(names) != 1:
        fail(
            command,
            "argument [USER@]TPU: Must be specified." if not names else f"unrecognized arguments: {names[1]}",
            2,
        )
    return command, names, flags


def main(words: list[str]) -> int:
    with (ROOT / "calls.jsonl").open("a") as calls:
        calls.write(json.dumps(words) + "\n")
    command, (name,), flags = parse(words)
    if not STATE.get("account", True):
        fail(command, "You do not currently have an active account selected.\nPlease run:\n\n  $ gcloud auth login\n")
    if not STATE.get("project", "p"):
        fail(command, "The required property [project] is not currently set.")
    zone = flags.get("--zone") or os.environ.get("CLOUDSDK_COMPUTE_ZONE") or STATE.get("property_zone")
    if not zone:
        fail(
            command,
            "The required property [compute/zone] is not currently set."
            if command[-1] == "ssh"
            else "Error parsing [tpu].\nThe [tpu] resource is not properly specified.\nFailed to find attribute [zone].",
        )
    if zone not in STATE["zones"]:
        fail(command, f"PERMISSION_DENIED: Location {zone} is not found or access is unauthorized.")
    if command == ("compute", "ssh"):
        if name not in STATE.get("vms", []):
            fail(
                command,
                f"Could not fetch resource:\n - The resource 'projects/p/zones/{zone}/instances/{name}' was not found",
            )
        return connect(STATE["vms"].index(name), name, flags, attempts=1, statuses=None)
    return tpu(command, name, zone, flags)


def tpu(command: tuple[str, ...], name: str, zone: str, flags: dict[str, str]) -> int:
    node = STATE["tpus"].get(name)
    if node is None or node.get("zone", zone) != zone:
        fail(command, f"NOT_FOUND: Resource 'projects/p/locations/{zone}/nodes/{name}' was not found")
    if command[-1] == "describe":
        ends = [{"ipAddress": f"10.0.0.{place}", "port": 8470} for place in range(node["workers"])]
        facts = {
            "name": f"projects/p/locations/{zone}/nodes/{name}",
            "state": node.get("state", "READY"),
            "networkEndpoints": ends,
        }
        print(
            json.dumps(facts)
            if flags.get("--format") == "json"
            else f"name: {facts['name']}\nstate: {facts['state']}"
        )
        return 0
    if node.get("state", "READY") in ("STOPPED", "PREEMPTED", "TERMINATED", "DELETING"):
        fail(command, f"TPU is in state {node['state']}, which is unusable")
    workers = chosen(command, flags.get("--worker", "0"), node["workers"])
    if len(workers) > 1 and "--command" not in flags:
        fail(command, "Invalid value for [--worker]: cannot target multiple workers without the `--command` flag.")
    if "--command" not in flags:
        fail(command, "the stand-in has no interactive shells")
    print(
        f"Using ssh batch size of {len(workers)}. Attempting to SSH into 1 nodes with a total of {len(workers)} workers.",
        file=sys.stderr,
    )
    make_key(command)
    if len(workers) == 1:
        return connect(workers[0], str(workers[0]), flags, attempts=10, statuses=None)
    statuses: list[int | None] = [None] * len(workers)  # by index, as long as the selection: the real one's oddity
    threads = [threading.Thread(target=connect, args=(k, str(k), flags, 10, statuses)) for k in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return next((status for status in statuses if status), 0)


def chosen(command: tuple[str, ...], text: str, count: int) -> list[int]:
    if text.upper() == "ALL":
        return list(range(count))
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if dash and not (first.isdecimal() and last.isdecimal() and int(first) < int(last)):
            fail(command, f'Invalid value for [--worker]: found malformed range "{part}".')
        if not first.isdecimal():
            fail(command, f"Invalid value for [--worker]: unable to parse worker ID {part}. Please only use numbers.")
        found.update(range(int(first), int(last or first) + 1))
    if max(found) >= count:
        fail(
            command,
            f"Invalid value for [--worker]: worker index {max(found)} is larger than the valid worker indexes on this TPU VM.",
        )
    return sorted(found)


def make_key(command: tuple[str, ...]) -> None:
    """Make the key on the first connection; ssh-keygen asks before it overwrites, and nobody answers."""
    key = Path("~/.ssh/google_compute_engine").expanduser()
    if key.exists():
        return
    key.parent.mkdir(exist_ok=True)
    try:
        making = os.open(key.with_suffix(".making"), os.O_CREAT | os.O_EXCL)
    except FileExistsError:
        fail(command, f"[/usr/bin/ssh-keygen] exited with return code [1]: {key} already exists. Overwrite (y/n)?")
    time.sleep(0.3)
    os.close(making)
    key.touch()


def connect(worker: int, name: str, flags: dict[str, str], attempts: int, statuses: list[int | None] | None) -> int:
    string = " ".join(flags["--command"].split(" "))
    status = 0
    for attempt in range(attempts):
        print(f"SSH: Attempting to connect to worker {worker}...", file=sys.stderr)
        sys.stderr.flush()
        ssh = subprocess.run([sys.executable, __file__, "--ssh", str(worker), name, string])
        status = ssh.returncode if ssh.returncode >= 0 else SSH_FAILED
        if status != SSH_FAILED:
            break
        if attempt + 1 < attempts:
            print("Retrying: SSH command error: [/usr/bin/ssh] exited with return code [255].", file=sys.stderr)
            time.sleep(STATE.get("pause", 5))
    if status == SSH_FAILED:
        print("ERROR: (gcloud) [/usr/bin/ssh] exited with return code [255].", file=sys.stderr)
    elif status and statuses is not None:
        print(
            f"##### Command execution on worker {worker} failed with exit status {status}. Continuing.",
            file=sys.stderr,
        )
    if statuses is not None and status:
        statuses[worker] = status  # an IndexError here is the real one's too
    return status


# ssh, and sshd with the login's shell behind it.


def ssh(worker: int, name: str, string: str) -> int:
    trouble: dict[str, Any] = STATE.get("trouble", {}).get(name, {})
    if count(f"{name}.attempts") <= trouble.get("refused", 0):
        print(f"ssh: connect to host 10.0.0.{worker} port 22: Connection refused", file=sys.stderr)
        return SSH_FAILED
    if trouble.get("banner"):
        print(trouble["banner"], file=sys.stderr, flush=True)
    # The worker's ends of the streams go to sshd; ours close when we die, and the worker's command learns of it.
    (into, ours_in), (ours_out, out), (ours_err, err) = os.pipe(), os.pipe(), os.pipe()
    channel = socket.socket(socket.AF_UNIX)
    channel.connect(address())
    socket.send_fds(channel, [json.dumps([name, string]).encode()], [into, out, err])
    for fd in (into, out, err):
        os.close(fd)
    threading.Thread(target=copy, args=(0, ours_in), daemon=True).start()
    ends = [threading.Thread(target=copy, args=ends) for ends in ((ours_out, 1), (ours_err, 2))]
    for end in ends:
        end.start()
    if "dropped" in trouble and count(f"{name}.drops") == 1:
        time.sleep(trouble["dropped"])
        print("client_loop: send disconnect: Broken pipe", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    for end in ends:
        end.join()  # a session lasts until all who could write are gone
    status = json.loads(channel.recv(64))
    return status if status >= 0 else SSH_FAILED


def address() -> str:
    """The socket's address, below a descriptor that stays open: a path may be longer than an address can be."""
    return f"/proc/self/fd/{os.open(ROOT, os.O_PATH)}/sshd"


def copy(source: int, target: int) -> None:
    try:
        while data := os.read(source, 65536):
            os.write(target, data)
    except OSError:
        pass
    os.close(target)


def sshd() -> NoReturn:
    """Serve every worker: run a login shell for each connection, outside of what the client's processes are under."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(address())
    server.listen(64)
    while True:
        channel, _address = server.accept()
        asked, fds, _flags, _from = socket.recv_fds(channel, 1 << 18, 3)
        threading.Thread(target=session, args=(channel, *json.loads(asked), fds), daemon=True).start()


def session(channel: socket.socket, name: str, string: str, fds: list[int]) -> None:
    home = ROOT / f"worker-{name}"
    (home / "bin").mkdir(parents=True, exist_ok=True)
    with (ROOT / f"worker-{name}.received").open("a") as received:
        received.write(json.dumps(string) + "\n")
    shell = json.loads((ROOT / "state.json").read_text()).get("shell", "/bin/bash")
    login = {
        "HOME": str(home), "USER": "me", "LOGNAME": "me", "SHELL": shell, "PATH": f"{home}/bin:/usr/bin:/bin",
        "SSH_CONNECTION": "10.1 1 10.2 22",
    }  # fmt: skip
    try:
        into, out, err = fds
        remote = subprocess.Popen(
            [shell, "-c", string], cwd=home, env=login, start_new_session=True, stdin=into, stdout=out, stderr=err
        )
    finally:
        for fd in fds:
            os.close(fd)
    status = remote.wait()
    with suppress(OSError):
        channel.sendall(json.dumps(status).encode())


def count(name: str) -> int:
    """Return how often this has been asked, this time included."""
    with (ROOT / name).open("a") as file:
        file.write(".")
        return file.tell()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--ssh"]:
        sys.stdout.flush()
        os._exit(ssh(int(sys.argv[2]), sys.argv[3], sys.argv[4]))
    if sys.argv[1:2] == ["--sshd"]:
        sshd()
    ended = main(sys.argv[1:])
    if "ssh" in sys.argv and "lingers" in STATE:  # ssh has closed the streams and doesn't end
        os.closerange(0, 3)
        time.sleep(STATE["lingers"])
    sys.exit(ended)
