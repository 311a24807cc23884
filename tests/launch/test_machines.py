"""Runs over several machines: real agents, ranks and launchers, on a network that is cut and mended."""

from __future__ import annotations

import os
import re
import shutil
import signal
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.launch.machines import PORT, Launch, Network
from tests.launch.processes import Script, until

Start = Callable[..., Launch]
Together = Callable[..., tuple[Launch, ...]]

pytestmark = [pytest.mark.machines, pytest.mark.timeout(400)]

SUM = """
import os, signal, sys, time, traceback
import torch
import torch.distributed as dist
dist.init_process_group("gloo")
rank, size = dist.get_rank(), dist.get_world_size()
one = torch.ones(1) * (rank + 1)
dist.all_reduce(one)
print(f"rank {rank} of {size}, {os.environ['LOCAL_RANK']} of {os.environ['LOCAL_WORLD_SIZE']} here: {one.item():.0f}", flush=True)
"""
MEET = SUM + "dist.destroy_process_group()\n"
FOR_EVER = SUM + "while True:\n    dist.all_reduce(one)\n    time.sleep(0.05)\n"
# What suffices where the launchers alone are looked at: torch takes seconds of each rank.
IDLE = "import os, time\nrank = int(os.environ['RANK'])\nprint(f'rank {rank} is here: ', flush=True)\nwhile True:\n    time.sleep(0.05)\n"
# It ends at once: gloo's threads now and then abort a process that leaves without having destroyed its group.
FAILS = (
    SUM
    + "if rank == int(sys.argv[1]):\n    time.sleep(0.5)\n    try:\n        raise ValueError('no good')\n"
    + "    except ValueError:\n        traceback.print_exc()\n        os._exit(1)\n"
    + FOR_EVER[len(SUM) :]
)


def both(started: Start, *words: object, **more: Any) -> tuple[Launch, Launch]:
    return started(0, *words, **more), started(1, *words, **more)


def running(*launches: Launch) -> None:
    assert all(launch.says("here: ") for launch in launches), [launch.text for launch in launches]


# They meet.


@pytest.mark.parametrize(("together", "backend"), [("each", "c10d"), ("hosts", "static")], indirect=["together"])
def test_uneven_machines_meet(together: Together, script: Script, backend: str) -> None:
    launches = together("--num_processes", 3, "--rdzv_backend", backend, script(MEET), ranks=(2, 1))
    text = "".join(launch.text for launch in launches if launch.wait() == 0)
    lines = sorted(line for line in text.splitlines() if line.startswith("rank "))
    assert [line.partition(",")[0] for line in lines] == [f"rank {n} of 3" for n in range(3)], text
    assert all(line.endswith(": 6") for line in lines)
    assert [max(launch.text.count(f" of {n} here") for launch in launches) for n in (1, 2)] == [1, 2]


@pytest.mark.parametrize("backend", ["etcd", "etcd-v2"])
def test_machines_meet_at_an_etcd(
    started: Start, script: Script, network: Network, tmp_path: Path, backend: str
) -> None:
    """Which is on none of them."""
    if shutil.which("etcd") is None or find_spec("etcd") is None:
        pytest.skip("needs an etcd (Debian's etcd-server), and python-etcd beside torch")
    with network.etcd(2, tmp_path):
        flags = ("--num_processes", 2, "--rdzv_backend", backend, "--main_process_port", 2379)
        launches = both(started, *flags, script(MEET), address=network.address(2))
        assert [launch.wait() for launch in launches] == [0, 0], launches[0].text + launches[1].text
    assert all(": 3\n" in launch.text for launch in launches)
    assert all(
        f"is the address of {backend}: the launchers don't connect to each other" in launch.text
        for launch in launches
    )


def test_version_6(started: Start, script: Script, network: Network) -> None:
    launches = both(started, "--num_processes", 2, script(MEET), address=network.address(0, version=6))
    assert [launch.wait() for launch in launches] == [0, 0], launches[0].text + launches[1].text


@pytest.mark.parametrize("backend", ["static", "c10d"])
def test_nothing_is_looked_up_where_the_address_is_a_number(
    started: Start, script: Script, network: Network, tmp_path: Path, backend: str
) -> None:
    """What the ranks look up is theirs."""
    path = script("import os\nprint('asked as', os.environ.get('RES_OPTIONS'))\n")
    with network.names_from(2, tmp_path / "asked"):
        launches = both(started, "--num_processes", 2, "--rdzv_backend", backend, path)
        assert [launch.wait() for launch in launches] == [0, 0], launches[0].text + launches[1].text
    assert (tmp_path / "asked").read_text() == "up\n"
    assert all("asked as None" in launch.text for launch in launches)


def test_a_name_that_is_not_there_yet_is_waited_for(started: Start, script: Script, network: Network) -> None:
    """What it stands for decides, once it is there, how the ranks go there."""
    path = script(MEET + "print('by', os.environ.get('GLOO_SOCKET_IFNAME'))\n")
    network.hosts(0, f"127.0.0.1 localhost\n{network.address(0)} trainer\n")
    network.hosts(1, "127.0.0.1 localhost\n")
    first = started(0, "--num_processes", 2, path, address="trainer")
    second = started(1, "--num_processes", 2, path, address="trainer")
    assert second.says("waiting for machine 0, the main one, at trainer:29500"), second.text
    network.hosts(1, f"127.0.0.1 localhost\n{network.address(0)} trainer\n")
    assert (first.wait(), second.wait()) == (0, 0), first.text + second.text
    assert "by eth0" in first.text
    assert "by eth0" in second.text


@pytest.mark.parametrize("wrong", [("10.88.0.77",), ("fd88::77", "10.88.0.1")])
def test_a_name_may_move_or_have_several_addresses(
    started: Start, script: Script, network: Network, wrong: tuple[str, ...]
) -> None:
    """The launchers meet as well as the agents, so that one hears of the other's end."""
    path = script(IDLE)
    network.hosts(0, f"127.0.0.1 localhost\n{network.address(0)} trainer\n")
    network.hosts(1, "127.0.0.1 localhost\n" + "".join(f"{address} trainer\n" for address in wrong))
    second = started(1, "--num_processes", 2, path, address="trainer")
    assert second.says("waiting for machine 0, the main one, at trainer:29500"), second.text
    if len(wrong) == 1:
        network.hosts(1, f"127.0.0.1 localhost\n{network.address(0)} trainer\n")
    first = started(0, "--num_processes", 2, path, address="trainer")
    running(first, second)
    assert until(lambda: established(second, PORT + 1), 60), second.text
    first.process.send_signal(signal.SIGTERM)
    assert second.wait() == 143
    assert "machine 0 (host" in second.text, (first.text, second.text)


def established(launch: Launch, port: int) -> bool:
    """Whether the launcher's machine is connected to this port of another one."""
    lines = Path(f"/proc/{launch.process.pid}/net/tcp").read_text().splitlines()[1:]
    return any(
        there.endswith(f":{port:04X}") and state == "01" for _n, _here, there, state, *_ in map(str.split, lines)
    )


def test_a_name_server_that_does_not_answer_holds_nothing_up(
    started: Start, script: Script, network: Network, tmp_path: Path
) -> None:
    """A resolver waits twenty seconds for it."""
    network.hosts(1, "127.0.0.1 localhost\n")
    with network.names_from(2, tmp_path / "asked"):
        launch = started(1, "--num_processes", 2, script(MEET), address="trainer")
        assert launch.says("waiting for machine 0, the main one, at trainer:29500", 15), launch.text
        launch.process.send_signal(signal.SIGTERM)
        assert launch.wait(5) == -signal.SIGTERM


def test_who_is_late_is_named_on_every_machine(started: Start, script: Script) -> None:
    path = script("")
    launches = [started(n, "--num_processes", 3, path, machines=3) for n in (0, 1)]
    for launch in launches:
        assert launch.says("waiting for machine 2 ("), launch.text
        assert f"it should dial 10.88.0.1:{PORT}" in launch.text
    launches.append(started(2, "--num_processes", 3, path, machines=3))
    assert [launch.wait() for launch in launches] == [0, 0, 0], [launch.text for launch in launches]


def test_waiting_has_an_end(started: Start, script: Script) -> None:
    launches = [started(n, "--num_processes", 3, "--join_timeout", 4, script(MEET), machines=3) for n in (0, 1)]
    for launch in launches:
        assert launch.wait() == 1
        # Who is a moment later hears it from the other one.
        assert f"machine 2 didn't come to 10.88.0.1:{PORT} within 4 s (join_timeout)\n" in launch.text, launch.text
        assert "Traceback" not in launch.text


def test_a_machine_without_the_main_one_ends_too(started: Start, script: Script) -> None:
    launch = started(1, "--num_processes", 2, "--join_timeout", 3, script(MEET))
    assert launch.wait() == 1
    assert launch.text.endswith("machine 0 wasn't found at 10.88.0.1:29500 within 3 s (join_timeout)\n"), launch.text


# They end together.


@pytest.mark.parametrize(("together", "rank"), [("each", 0), ("each", 1), ("hosts", 1)], indirect=["together"])
def test_the_rank_that_failed_first_is_named_on_every_machine(
    together: Together, script: Script, tmp_path: Path, rank: int
) -> None:
    path, logs = script(FAILS), tmp_path / "logs"
    for launch in together("--num_processes", 2, "--log_dir", logs, path, rank):
        assert launch.wait() == 1
        assert launch.text.count("failed first") == 1
        assert f"rank {rank} (machine {rank}, local rank 0, pid " in launch.text, launch.text
        assert "exception: ValueError: no good" in launch.text
        assert f"at: {path}:13" in launch.text
        assert "no secret" not in launch.text or "--main_process_ip" in str(launch.process.args)
    assert len(list(logs.glob("[0-9]*_machine*/attempt_0/0/stdout.log"))) == 2


@pytest.mark.parametrize("together", ["each", "hosts"], indirect=True)
def test_the_status_is_the_first_failures(together: Together, script: Script) -> None:
    code = FOR_EVER.replace("while True:", "if rank == 1:\n    os._exit(7)\nwhile True:")
    for launch in together("--num_processes", 2, script(code)):
        assert launch.wait() == 7, launch.text


@pytest.mark.parametrize("killed", [0, 1])
def test_a_killed_launcher_ends_the_run_everywhere(started: Start, script: Script, killed: int) -> None:
    launches = both(started, "--num_processes", 2, script(IDLE if killed else FOR_EVER))
    running(*launches)
    launches[killed].process.kill()
    other = launches[1 - killed]
    began = time.monotonic()
    assert other.wait() == 1
    assert time.monotonic() - began < 6 + 2
    assert f"machine {killed} (host " in other.text or f"machine {killed}, the main one, is lost" in other.text
    assert "is lost: its launcher is gone" in other.text, other.text
    shown = f"when a lost machine ended the run:\n  1 of 1 rank ({1 - killed}): " in other.text
    assert shown or "Traceback" in other.text, other.text  # its rank may have failed before of the lost connection


@pytest.mark.parametrize("killed", [0, 1])
@pytest.mark.parametrize(
    ("part", "cause"),
    [
        ("guardian", "the launcher's guardian process was terminated by SIGKILL"),
        ("agent", "torchrun was killed, and its ranks were terminated with it"),
    ],
)
def test_whatever_is_killed_between_launcher_and_ranks_is_named(
    started: Start, script: Script, killed: int, part: str, cause: str
) -> None:
    """And not one of the ranks that are ended with it, or complain of it on the other machine."""
    launches = both(started, "--num_processes", 2, script(FOR_EVER if part == "agent" else IDLE))
    running(*launches)
    (process,) = psutil.Process(launches[killed].process.pid).children()
    if part == "agent":
        (process,) = process.children()
    process.kill()
    assert [launch.wait() for launch in launches] == [137, 137], [launch.text for launch in launches]
    other = launches[1 - killed].text
    assert re.search(rf"machine {killed} \(host .*\) failed first\n  cause: {cause}", other), other
    assert cause in launches[killed].text


@pytest.mark.parametrize("cut", [0, 1])
def test_a_machine_that_is_cut_off_ends_the_run_everywhere(
    started: Start, script: Script, network: Network, cut: int
) -> None:
    path = script(IDLE if cut else FOR_EVER)
    launches = [started(n, "--num_processes", 3, path, machines=3) for n in range(3)]
    running(*launches)
    network.cut(cut)
    began = time.monotonic()
    assert [launch.wait() for launch in launches] == [1, 1, 1]
    assert time.monotonic() - began < 6 + 3
    for n, launch in enumerate(launches):
        # Who is cut off sees the others go: the main machine, unless it is that one itself.
        lost = (
            ["machine 1", "machine 2"]
            if n == cut == 0
            else ["machine 0, the main one,"]
            if 0 in (n - cut, cut)
            else [f"machine {cut}"]
        )
        assert any(f"{name} is lost: silent for 3 s" in launch.text for name in lost), launch.text
    # A machine that is too busy to look in time shows nothing.
    assert any("when a lost machine ended the run:\n  1 of 1 rank (" in launch.text for launch in launches)


@pytest.mark.parametrize(("together", "paused"), [("each", 0), ("each", 1), ("hosts", 1)], indirect=["together"])
def test_a_machine_that_pauses_is_not_dead(together: Together, script: Script, network: Network, paused: int) -> None:
    path = script(
        SUM + "for _ in range(60):\n    dist.all_reduce(one)\n    time.sleep(0.1)\ndist.destroy_process_group()\n"
    )
    launches = together("--num_processes", 2, "--lifeline_timeout", 20, path)
    assert until(lambda: sum(launch.text.count(" here: ") for launch in launches) == 2, 180), launches[0].text
    everything = network.processes(paused)
    for pid in everything:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(6)
    for pid in everything:
        os.kill(pid, signal.SIGCONT)
    for launch in launches:
        assert launch.wait() == 0, launch.text


@pytest.mark.parametrize(
    ("together", "number"),
    [("each", signal.SIGINT), ("each", signal.SIGTERM), ("hosts", signal.SIGINT)],
    indirect=["together"],
)
def test_an_interrupted_launcher_ends_the_run_everywhere(together: Together, script: Script, number: int) -> None:
    *others, last = together("--num_processes", 2, script(IDLE))
    running(*others, last)
    last.process.send_signal(number)
    assert last.wait() == -number
    for other in others:
        assert other.wait() == 128 + number
        assert f"cause: its launcher was terminated by {signal.Signals(number).name}" in other.text, other.text


# Who may take part.


def test_a_second_machine_of_the_same_rank_is_turned_away(started: Start, script: Script) -> None:
    launches = both(started, "--num_processes", 2, script(IDLE))
    running(*launches)
    third = started(2, "--num_processes", 2, script(IDLE), rank=1)
    assert third.wait() == 1
    assert "the main machine refused this one: machine 1 is here already" in third.text, third.text
    assert launches[0].process.poll() is None
    launches[0].process.terminate()
    assert launches[1].wait() == 143


def test_another_run_is_turned_away(started: Start, script: Script) -> None:
    first = started(0, "--num_processes", 2, "--run_id", "monday", script(""))
    other = started(1, "--num_processes", 2, "--run_id", "tuesday", script(""))
    assert other.wait() == 1
    assert "the main machine refused this one: it is of another run\n" in other.text, other.text
    assert "refused a launcher at 10.88.0.2: it is of another run than 'monday'" in first.text, first.text
    right = started(1, "--num_processes", 2, "--run_id", "monday", script(""))
    assert (first.wait(), right.wait()) == (0, 0), first.text


def test_a_secret_keeps_strangers_out(started: Start, script: Script, tmp_path: Path) -> None:
    (right := tmp_path / "right").write_text("one two three")
    (wrong := tmp_path / "wrong").write_text("four")
    right.chmod(0o600)
    wrong.chmod(0o600)
    path = script(IDLE)
    first = started(0, "--num_processes", 2, "--lifeline_secret_file", right, path)
    other = started(1, "--num_processes", 2, "--lifeline_secret_file", wrong, path)
    assert other.says("its messages aren't sealed with our secret"), other.text
    assert first.says("refused a launcher at", 1) or first.process.poll() is None
    other.process.kill()
    first.process.terminate()
    first.wait()
    again = both(started, "--num_processes", 2, "--lifeline_secret_file", right, script(FAILS), 1)
    assert [launch.wait() for launch in again] == [1, 1]
    assert "rank 1 (machine 1" in again[0].text


@pytest.mark.parametrize("carried", [True, False])
def test_a_secret_that_the_scheduler_carries_reaches_no_rank(
    started: Start, script: Script, environ: dict[str, str], carried: bool
) -> None:
    if carried:
        environ["ACCELERATE_LIFELINE_SECRET"] = "0123456789abcdef" * 4
    code = IDLE.replace("while True:", "print('secret', os.environ.get('ACCELERATE_LIFELINE_SECRET'))\nwhile True:")
    launches = both(started, "--num_processes", 2, script(code))
    running(*launches)
    assert all(launch.says("secret None") for launch in launches), [launch.text for launch in launches]
    told = "accel: note: the launchers have no secret: whoever reaches 10.88.0.1:29501 can join this run or end it"
    assert (told in launches[0].text) != carried, launches[0].text
    assert "no secret" not in launches[1].text
    lines = Path(f"/proc/{launches[0].process.pid}/net/tcp").read_text().splitlines()[1:]
    listening = [line.split()[1] for line in lines if line.split()[1].endswith(f":{PORT + 1:04X}") and " 0A " in line]
    assert listening == ([] if carried else [f"0100580A:{PORT + 1:04X}"]), listening[
        :2
    ]  # with a secret, on every address of IPv6
    launches[1].process.terminate()
    assert launches[0].wait() == 143


def test_without_a_way_to_the_lifeline_the_run_goes_on(started: Start, script: Script) -> None:
    path = script("")
    first = started(0, "--num_processes", 2, "--lifeline_port", 0, path)
    second = started(1, "--num_processes", 2, path)
    assert (first.wait(), second.wait()) == (0, 0), first.text + second.text
    assert "note: the main machine's launcher can't be reached at 10.88.0.1:29501" in second.text


# Restarts.


@pytest.mark.parametrize("together", ["each", "hosts"], indirect=True)
def test_every_attempt_is_told(together: Together, script: Script) -> None:
    # Rank 0 is the slowest to come back, so that the others would find what it left in a store of the last attempt.
    late = "import os, time\nagain = os.environ['TORCHELASTIC_RESTART_COUNT'] != '0'\n"
    late += "time.sleep(5 if again and os.environ['RANK'] == '0' else 0)\n"
    code = late + MEET + "os._exit(0 if again else 3)\n"
    for launch in together("--num_processes", 2, "--max_restarts", 3, "--rdzv_backend", "c10d", script(code)):
        assert launch.wait() == 0, launch.text
        assert re.search(
            r"note: (n\d: )?attempt 0 ended at .* \(rank \d: exit status 3\); the ranks were restarted", launch.text
        )
        assert "attempt 1 ended" not in launch.text


@pytest.mark.parametrize("together", ["each", "hosts"], indirect=True)
def test_no_machine_waits_for_one_that_has_finished(together: Together, script: Script) -> None:
    code = SUM + "time.sleep(1)\nos._exit(3 if rank == 1 else 0)\n"
    launches = together("--num_processes", 2, "--max_restarts", 3, "--rdzv_backend", "c10d", script(code))
    running(*launches)
    began = time.monotonic()
    for launch in launches:
        assert launch.wait() == 3, launch.text
    assert 15 < time.monotonic() - began < 100  # torch's agents alone would wait for five minutes
    for launch in launches:
        assert "ranks can't be restarted, because those of machine 0 have ended: the run" in launch.text
        assert "rank 1 (machine 1, local rank 0, pid " in launch.text, launch.text


@pytest.mark.parametrize("together", ["each", "hosts"], indirect=True)
def test_ranks_that_end_well_for_a_restart_are_started_again(
    together: Together, script: Script, tmp_path: Path
) -> None:
    code = "import os, pathlib, signal, sys, time\nsignal.signal(signal.SIGTERM, lambda *_: os._exit(0))\n"
    code += "rank = os.environ['RANK']\nonce = pathlib.Path(sys.argv[1], rank)\n"
    code += "if once.exists():\n    sys.exit()\nonce.touch()\ntime.sleep(60 if rank == '0' else 2)\nsys.exit(3)\n"
    restart = ("--max_restarts", 3, "--rdzv_backend", "c10d")
    launches = together("--num_processes", 2, *restart, script(code), tmp_path)
    for launch in launches:
        assert launch.wait() == 0, launch.text
    assert "attempt 0 ended at " in launches[-1].text


def test_elastic_machines_come_and_go(started: Start, script: Script) -> None:
    code = SUM + "if size < 2:\n    time.sleep(60)\ndist.destroy_process_group()\n"
    path = script(code)
    first = started(0, "--nproc_per_node", 1, "--rdzv_conf", "last_call_timeout=1", path, machines="1:2")
    assert first.says("rank 0 of 1"), first.text
    second = started(1, "--nproc_per_node", 1, "--rdzv_conf", "last_call_timeout=1", path, machines="1:2")
    assert (first.wait(), second.wait()) == (0, 0), first.text + second.text
    assert "of 2, 0 of 1 here: 3" in first.text
