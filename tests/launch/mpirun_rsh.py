"""A stand-in for MVAPICH's mpirun_rsh and its daemons, which no registry has.

It follows the sources of MVAPICH2 2.3 (``MV2_``) and MVAPICH 3.0 (``MVP_``): the variables, which daemon calls which,
and which connections stay open. mpirun_rsh calls few hosts itself (``spawn_fast``); many hosts call each other
(``spawn_one``). A rank that fails ends all. `install` installs it under both names, so it imports only the standard
library.
"""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path


def install(folder: Path) -> None:
    """Put both programs into ``folder``."""
    for name in ("mpirun_rsh", "mpispawn"):
        path = folder / name
        path.write_text(f"#!{sys.executable}\n{Path(__file__).read_text()}")
        path.chmod(0o755)


def listen() -> socket.socket:
    return socket.create_server(("", 0), backlog=64)


def port(server: socket.socket) -> int:
    return int(server.getsockname()[1])


def called(host: str, at: int, text: str) -> socket.socket:
    calling = socket.create_connection((host, at))
    calling.sendall(text.encode() + b"\n")
    return calling


def describe(connection: socket.socket) -> str:
    return connection.makefile().readline().strip()


def start(host: str, variables: dict[str, object]) -> subprocess.Popen[bytes]:
    """Start a daemon: on mpirun_rsh's own host with a shell, on others with ssh."""
    there = ["sh", "-c"] if host == os.uname().nodename else ["ssh", "-q", host]
    given = " ".join(f"{name}={shlex.quote(str(value))}" for name, value in variables.items())
    folder = Path(sys.argv[0]).parent
    return subprocess.Popen(
        [*there, f"cd {shlex.quote(str(Path.cwd()))}; exec /usr/bin/env {given} {folder}/mpispawn 0"]
    )


def mpirun_rsh(count: int, hosts: list[str], program: list[str]) -> int:
    """``mpirun_rsh -np COUNT HOST... PROGRAM``."""
    ranks: dict[str, list[int]] = {}
    for rank in range(count):
        ranks.setdefault(hosts[rank % len(hosts)], []).append(rank)
    machines, checkin, own = list(ranks), listen(), os.uname().nodename
    few = len(machines) < int(os.environ.get("MV2_FASTSSH_THRESHOLD", "256"))
    common: dict[str, object] = {
        "USE_LINEAR_SSH": int(few),
        "MPISPAWN_MPIRUN_HOST": own,
        "MPISPAWN_CHECKIN_PORT": port(checkin),
        "MPISPAWN_GLOBAL_NPROCS": count,
        "MPISPAWN_MPIRUN_ID": os.getpid(),
        "MPISPAWN_NNODES": len(machines),
        "MPISPAWN_ARGC": len(program),
        **{f"MPISPAWN_ARGV_{place}": word for place, word in enumerate(program)},
    }
    if not few:
        listed = "".join(f"{one}:{len(own)}:" + "".join(f"{rank}:" for rank in own) for one, own in ranks.items())
        if listed_in := os.environ.get("TEST_HOST_LIST_FILE"):  # of 8192 ranks on
            Path(listed_in).write_text(listed)
            common |= {"HOST_LIST_FILE": listed_in, "HOST_LIST_NBYTES": len(listed) + 1}
        else:
            common["MPISPAWN_HOSTLIST"] = listed
    daemons = []
    for place, host in enumerate(machines if few else machines[:1]):
        each = {f"MPISPAWN_MPIRUN_RANK_{local}": rank for local, rank in enumerate(ranks[host])} if few else {}
        daemons.append(
            start(host, {**common, **each, "MPISPAWN_ID": place, "MPISPAWN_LOCAL_NPROCS": len(ranks[host])})
        )
    checkin.settimeout(0.1)
    ports = dict[str, str]()
    while len(ports) < len(daemons):
        with suppress(TimeoutError):
            place, ports[place] = describe(checkin.accept()[0]).split()
        if any(one.poll() for one in daemons):
            return 1
    if few:
        tree = " ".join(f"{host}:{ports[str(place)]}" for place, host in enumerate(machines))
        called(machines[0], int(ports["0"]), tree).close()
    failed = _followed(daemons, checkin)
    return int(failed or any(one.returncode for one in daemons))


def _followed(daemons: list[subprocess.Popen[bytes]], checkin: socket.socket) -> bool:
    """Wait for all; end them if one reports that a rank has failed."""
    failed = False
    while any(one.poll() is None for one in daemons):
        with suppress(TimeoutError):
            describe(checkin.accept()[0])
            failed = True
            for one in daemons:
                one.send_signal(signal.SIGTERM)
    return failed


def mpispawn() -> int:
    """Start the ranks of one machine."""
    own = {name: value for name, value in os.environ.items() if name.startswith("MPISPAWN_")}
    place, machines = int(own["MPISPAWN_ID"]), int(own["MPISPAWN_NNODES"])
    above, count = (own["MPISPAWN_MPIRUN_HOST"], int(own["MPISPAWN_CHECKIN_PORT"])), int(own["MPISPAWN_LOCAL_NPROCS"])
    degree, few = int(os.environ.get("MV2_MT_DEGREE", "32")), os.environ["USE_LINEAR_SSH"] == "1"
    below = range(degree * place + 1, min(degree * place + 1 + degree, machines))
    tree, ranks_call, daemons = listen(), listen(), list[subprocess.Popen[bytes]]()
    tree.settimeout(60)
    if few:
        called(*above, f"{place} {port(tree)}").close()
        connection = tree.accept()[0]
        line = describe(connection)
        kept = [called(*address(line.split()[place_below]), line) for place_below in below]
        if place == 0:
            connection.close()
        ranks = [int(own[f"MPISPAWN_MPIRUN_RANK_{local}"]) for local in range(count)]
    else:
        groups = _groups(own.get("MPISPAWN_HOSTLIST") or Path(os.environ["HOST_LIST_FILE"]).read_text())
        down = {**own, "MPISPAWN_MPIRUN_HOST": os.uname().nodename, "MPISPAWN_CHECKIN_PORT": str(port(tree))}
        for one in below:
            host, its = groups[one]
            daemons.append(start(host, {**down, "MPISPAWN_ID": one, "MPISPAWN_LOCAL_NPROCS": len(its)}))
        kept = [tree.accept()[0] for _ in below]
        kept.append(called(*above, f"{place} {port(tree)}"))
        ranks = groups[place][1]
    prefix = os.environ.get("TEST_MVAPICH", "MV2")
    os.environ |= {
        "MPIRUN_NPROCS": own["MPISPAWN_GLOBAL_NPROCS"],
        "MPIRUN_ID": own["MPISPAWN_MPIRUN_ID"],
        f"{prefix}_NODE_ID": str(place),
        "PMI_PORT": f"{os.uname().nodename}:{port(ranks_call)}",
        f"{prefix}_COMM_WORLD_LOCAL_SIZE": str(count),
        f"{prefix}_COMM_WORLD_SIZE": own["MPISPAWN_GLOBAL_NPROCS"],
    }
    words = [own[f"MPISPAWN_ARGV_{one}"] for one in range(int(own["MPISPAWN_ARGC"]))]
    for local, rank in enumerate(ranks):
        each = {"PMI_ID": rank, f"{prefix}_COMM_WORLD_RANK": rank, f"{prefix}_COMM_WORLD_LOCAL_RANK": local}
        daemons.append(subprocess.Popen(words, env={**os.environ, **{name: str(one) for name, one in each.items()}}))

    def end(_number: int, _frame: object) -> None:
        for one in daemons:
            one.terminate()

    signal.signal(signal.SIGTERM, end)
    failed = False
    while daemons:
        pid, status = os.wait()
        daemons = [one for one in daemons if one.pid != pid]
        if status and not failed:
            failed = True
            called(*above, f"-1 {place}").close()
    for one in kept:
        one.close()
    return int(failed)


def address(text: str) -> tuple[str, int]:
    host, _, at = text.partition(":")
    return host, int(at)


def _groups(listed: str) -> list[tuple[str, list[int]]]:
    """``HOST:COUNT:RANK:RANK:HOST:…``."""
    words, groups = listed.split(":"), list[tuple[str, list[int]]]()
    while len(words) > 1:
        count = int(words[1])
        groups.append((words[0], [int(rank) for rank in words[2 : 2 + count]]))
        words = words[2 + count :]
    return groups


if __name__ == "__main__":
    if Path(sys.argv[0]).name == "mpispawn":
        sys.exit(mpispawn())
    number, *rest = sys.argv[2:]
    first = next(place for place, word in enumerate(rest) if "/" in word)
    sys.exit(mpirun_rsh(int(number), rest[:first], rest[first:]))
