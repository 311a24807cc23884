"""What `--hosts` reads, refuses and shows, without any other machine."""

from __future__ import annotations

import json
import os
import re
import subprocess
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import pytest

from accel_config import CATALOGUE, AccelError, SettingError, resolve, split
from accel_launch.hosts import assigning, outcome, ssh
from accel_launch.hosts.hosts_plan import HostsPlan
from accel_launch.hosts.listing import Machine, machines
from accel_launch.planning import checks
from accel_launch.planning.findings import Findings
from accel_launch.running.lifeline.remote_failure import RemoteFailure
from tests.conftest import BIN, ROOT
from tests.launch.hosts import host
from tests.launch.user import without_torch

MISSING = "/py: Error while finding module specification for 'accel_launch.hosts.machine' (ModuleNotFoundError: No module named"


def listed(text: str, cwd: object = "/") -> tuple[Machine, ...]:
    return machines(resolve(CATALOGUE, (split(CATALOGUE, ["--hosts", text, "train.py"]).values,)), str(cwd))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a,b.example.org", [("a", "", None, None), ("b.example.org", "", None, None)]),
        ("gpu[09-10]*8, login", [("gpu09", "", None, 8), ("gpu10", "", None, 8), ("login", "", None, None)]),
        ("me@a:2222*4", [("a", "me", 2222, 4)]),
        ("me@n[1-2]:22", [("n1", "me", 22, None), ("n2", "me", 22, None)]),
        ("fd88::1,[fd88::2]:22*2,10.0.0.1", [("fd88::1", "", None, None), ("fd88::2", "", 22, 2), ("10.0.0.1", "", None, None)]),
    ],
)  # fmt: skip
def test_lists(text: str, found: list[tuple[str, str, int | None, int | None]]) -> None:
    assert [(one.name, one.user, one.port, one.count) for one in listed(text)] == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a slots=8 max_slots=9\n# b slots=1\nc slots=4\n", [("a", 8), ("c", 4)]),  # Open MPI's, DeepSpeed's
        ("a:2\nfd88::1 slots=3\n", [("a", 2), ("fd88::1", 3)]),  # Hydra's
        ("n[1-2]\nlogin\n", [("n1", None), ("n2", None), ("login", None)]),  # Slurm's, as in SLURM_JOB_NODELIST
        ("a\na\nb\n", [("a", 2), ("b", 1)]),  # a line for each task, as in SLURM_HOSTFILE
        ("a, b\nn[1-2],c*2\n", [("a", None), ("b", None), ("n1", None), ("n2", None), ("c", 2)]),
        ("me@a:2222*2\nb:22 slots=4\n[fd88::1]:2\n", [("me@a:2222", 2), ("b:22", 4), ("fd88::1", 2)]),
    ],
)
def test_files(tmp_path: Path, text: str, found: list[tuple[str, int | None]]) -> None:
    (tmp_path / "hosts").write_text(text)
    labels = [(f"{one.user}@{one.label}".lstrip("@"), one.count) for one in listed("hosts", tmp_path)]
    assert labels == found


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("a slots=two", "'slots=two' isn't valid; write a machine on each line"),
        ("a slots=0", "'slots=0' isn't valid"),
        ("a slot=2", "'slot=2' isn't valid"),
        ("a slots = 2", "'=' isn't valid"),
        ("slots=2", "'slots=2' isn't valid"),
        ("a b", "'a b' isn't valid"),
        ("a,n[1-", "'n[1-' isn't valid in a list of hosts; write a machine on each line"),
        ("a*2 slots=4", "a has 2 ranks, and 4; leave one of them out"),
        ("a:22", "a:22 in a file has 22 ranks; if that is ssh's port, write a:22*8, or else a slots=22"),
        ("me@a:2222", "a:2222 in a file has 2222 ranks"),
    ],
)
def test_a_wrong_line_of_a_file_is_refused_by_its_number(tmp_path: Path, line: str, said: str) -> None:
    (tmp_path / "hosts").write_text(f"# ours\nn1\n{line}\n")
    with pytest.raises(AccelError) as refused:
        listed("hosts", tmp_path)
    assert f"{tmp_path}/hosts:3: {said}" in str(refused.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,a", "hosts lists a twice; write a*2"),
        ("a[1-", "isn't valid in a list of hosts; write names"),
        ("a[2-1]", "isn't valid in a list of hosts; write names"),
        ("a*0", "'a*0' isn't valid"),
        ("a:port", "'a:port' isn't valid"),
        ("a:70000", "'a:70000' isn't valid"),
        ("-oProxyCommand=x", "isn't valid"),
        ("a;reboot", "'a;reboot' isn't valid"),
        ("-l@a", "'-l@a' isn't valid"),
        (",", "hosts lists no machine"),
        ("no/such/file", "the file of hosts no/such/file doesn't exist"),
    ],
)
def test_what_is_no_list(text: str, said: str) -> None:
    with pytest.raises(AccelError) as refused:
        listed(text)
    assert said in str(refused.value)


def launch(environ: dict[str, str], *words: object) -> subprocess.CompletedProcess[str]:
    command = [BIN / "accelerate", "launch", "--cpu", *map(str, words)]
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    ("flags", "both"),
    [
        (("--machine_rank", 1), "machine_rank 1 (--machine_rank)"),
        (("--num_machines", 3), "num_machines 3 (--num_machines)"),
        (("--engine", "mpi"), "engine mpi (--engine)"),
        (("--mpirun_hostfile", "f"), "mpirun_hostfile f (--mpirun_hostfile)"),
        (("--deepspeed_multinode_launcher", "pdsh"), "deepspeed_multinode_launcher pdsh"),
        (("--slurm",), "slurm true (--slurm)"),
        (
            ("--num_processes", 5),
            "num_processes 5 (--num_processes) and hosts a*2,b*2 (--hosts): the list has 4 ranks in all",
        ),
    ],
)
def test_what_can_not_go_together_is_named(flags: tuple[object, ...], both: str) -> None:
    words = list(map(str, ("--hosts", "a*2,b*2", *flags, "train.py")))
    settings = resolve(CATALOGUE, (split(CATALOGUE, words).values,))

    def plan() -> None:
        assigning.refuse(settings)
        assigning.common(settings, machines(settings, "/"))

    with pytest.raises(SettingError) as refused:
        plan()
    assert "hosts a*2,b*2 (--hosts)" in str(refused.value)
    assert both in str(refused.value)


@pytest.mark.parametrize(
    ("text", "flags", "counts"),
    [
        ("a*3,b*1", (), [3, 1]),
        ("a*2,b*1", (), [2, 1]),
        ("a*2,b*1,c*1", (), [2, 1, 1]),
        ("a*2,b*1", ("--num_processes", 3), [2, 1]),
        ("a*3,b*1", ("--nproc_per_node", 8), [3, 1]),
        ("a*5", ("--nproc_per_node", 2), [5]),
        ("a*3,b", ("--num_processes", 5), [3, 2]),
        ("a,b", ("--num_processes", 4), [2, 2]),
        ("a*3,b", ("--nproc_per_node", 2), [3, 2]),
        ("a,b", (), [None, None]),
    ],
)
def test_numbers_of_ranks(text: str, flags: tuple[object, ...], counts: list[int | None]) -> None:
    words = list(map(str, ("--hosts", text, "--multi_gpu", *flags, "train.py")))
    settings = resolve(CATALOGUE, (split(CATALOGUE, words).values,))
    places = HostsPlan(settings, host(4), ("train.py",)).places
    assert [found.value if (found := one.values.get("nproc_per_node")) else None for one in places] == counts
    for one in places:  # each machine takes what it gets
        checks.combinations(resolve(CATALOGUE, (one.values,)), Findings(lenient=False))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b", "the hosts without a number can't share 3 ranks evenly; make it 2 or 4, or give each its number, such as a*2"),
        ("a*3,b", "too few for each host to have one; make it 4 at least"),
        ("a*1,b,c,d", "too few for each host to have one; make it 4 at least"),
    ],
)  # fmt: skip
def test_numbers_that_do_not_add_up_are_refused_with_those_that_do(text: str, said: str) -> None:
    settings = resolve(CATALOGUE, (split(CATALOGUE, ["--hosts", text, "--num_processes", "3", "t.py"]).values,))
    with pytest.raises(SettingError) as refused:
        HostsPlan(settings, host(), ("train.py",))
    assert str(refused.value).endswith(said)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--env", "RANK=7", "x.py"), "--env: each rank gets its own RANK from the launcher; leave it out"),
        (("--env", "A", "x.py"), "--env: A isn't set in this shell; give A=VALUE"),
        (("--env", "A=word", "--env", "1B=word", "x.py"), "not '1B'=***, whose name can't be a variable's"),
        (("n2", "x.py"), "the script n2 doesn't exist; if it is a host, write --hosts n1,n2 x.py"),
    ],
)
def test_what_is_typed_wrongly_is_named(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    def plan() -> HostsPlan:
        typed = split(CATALOGUE, ["--hosts", "n1", *words])
        return HostsPlan(resolve(CATALOGUE, (typed.values,)), host(cwd=str(tmp_path)), typed.script)

    (tmp_path / "x.py").write_text("")
    with pytest.raises(SettingError if "--env" in words else AccelError) as refused:
        plan()
    assert str(refused.value).endswith(said)
    assert "word" not in str(refused.value)


@pytest.mark.parametrize(("hosts", "made"), [("a,b", False), ("localhost,b", True)])
def test_a_report_that_can_not_be_written_is_refused_before_the_start(
    tmp_path: Path, hosts: str, *, made: bool
) -> None:
    def plan(*words: str) -> HostsPlan:
        typed = split(CATALOGUE, ["--hosts", hosts, "--report", str(tmp_path / "no/r.json"), *words, "t.py"])
        return HostsPlan(resolve(CATALOGUE, (typed.values,)), host(), ("t.py",))

    with pytest.raises(AccelError, match=r"r.json \(--report\): the folder .*no doesn't exist"):
        plan()
    assert plan("--dry_run").findings.notes
    with nullcontext() if made else pytest.raises(AccelError):  # the launcher of this machine makes the logs' folder
        plan("--log_dir", str(tmp_path / "no"))


def test_a_dry_run_shows_commands_and_origins(environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("hosts: [n1*2, 'me@n2:2222*4']\nmixed_precision: bf16\nnum_machines: 1\n")
    environ |= {"TOKEN": "word"}
    flags = ("--config_file", tmp_path / "config.yaml", "--env", "HF_TOKEN=hf_word", "--env", "TOKEN")
    shown = launch(environ, "--dry_run", *flags, "train.py", "--lr", 1)
    assert shown.returncode == 0, shown.stderr
    assert re.search(r"#   num_machines 2 \(.*config.yaml:1\)", shown.stdout), shown.stdout
    assert re.search(r"#   mixed_precision bf16 \(.*config.yaml:2\)", shown.stdout)
    (second,) = (
        line for line in shown.stdout.splitlines() if line.startswith("# machine 1, n2:2222: machine_rank 1 ")
    )
    assert second.endswith("config.yaml:1), nproc_per_node 4 (n2:2222*4)")
    commands = [line for line in shown.stdout.splitlines() if line.startswith("ssh ")]
    assert [" -p 2222 -- me@n2 " in line for line in commands] == [False, True]
    assert all(line.endswith("-P -m accel_launch.hosts.machine'") for line in commands)
    assert "hf_word" not in shown.stdout
    secret = launch(environ, "--dry_run", *flags, "train.py", "--api_key", "hidden", "a,b c")
    as_json = launch(environ, "--dry_run", "--json", *flags, "train.py", "--api_key", "hidden")
    assert "the script train.py --api_key '***' 'a,b c'" in secret.stdout
    assert json.loads(as_json.stdout)["script"] == ["train.py", "--api_key", "***"]
    data = json.loads(launch(environ, "--dry_run", "--json", *flags, "train.py").stdout)
    assert [host["settings"]["nproc_per_node"]["value"] for host in data["hosts"]] == [2, 4]
    assert data["env"] == {"HF_TOKEN": "***", "TOKEN": "***"}
    empty = launch(environ, "--dry_run", "--hosts", "", "train.py")
    assert (empty.returncode, empty.stdout) == (2, ""), "an empty variable of a shell starts nothing on this machine"
    assert "--hosts: hosts lists no machine" in empty.stderr
    explained = launch(environ, "--explain", *flags, "train.py").stdout
    assert "ssh -T -o BatchMode=yes" in explained
    assert "num_machines" in explained


def test_settings_travel_as_they_are() -> None:
    words = ["--hosts", "a", "--grace", "90s", "--gpu_ids", "0,1", "--fsdp_version", "2", "train.py"]
    settings = resolve(CATALOGUE, (split(CATALOGUE, words).values,))
    found = machines(settings, "/")
    (place,) = assigning.places(assigning.common(settings, found), found, [False])
    read = assigning.read(json.loads(json.dumps(place.data())))
    for name in ("grace", "gpu_ids", "fsdp_version"):
        assert read[name] == settings.value(name)
    assert "hosts" not in read


@pytest.mark.parametrize(
    ("status", "printed", "said"),
    [
        (255, "Host key verification failed.", "put `ssh-keyscan -p 2222 b` into known_hosts"),
        (255, "@ REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.", "`ssh-keygen -R b`"),
        (255, "me@b: Permission denied (publickey).", "a password would be needed (me@b: Permission denied"),
        (255, "ssh: connect to host b port 2222: Connection refused", "it can't be reached (ssh: connect to host b"),
        (127, "sh: 1: exec: /py: not found", "has no /py; give --python an interpreter that it has"),
        (
            1,
            f"{MISSING} 'accel_launch')",
            "has no accel-launch for /py; carry it there with --sync_launcher, or install this version: ssh -p 2222 me@b",
        ),
        (
            1,
            f"{MISSING} 'accel_launch.hosts')",
            "has an older accel-launch for /py; carry it there with --sync_launcher, or install this",
        ),
        (
            2,
            "Unknown option: -P\nusage: /py [option]",
            "its Python is older than 3.11; name a newer one with --python",
        ),
        (255, "ssh: Could not resolve hostname hosts.txtt", "or correct the hosts' file's path"),
        (9, "noise\nlast", "ssh ended with status 9: last"),
    ],
)
def test_why_a_machine_has_not_answered(status: int, printed: str, said: str) -> None:
    text = ssh.complaint(Machine("b", "me", 2222), "/py", status, printed, here=False)
    assert text.startswith("b:2222")
    assert said in text
    assert ssh.command(Machine("b"), "~/my venv/py")[-1] == "exec ~/'my venv/py' -P -m accel_launch.hosts.machine"


def told(host: str = "n", machine: int = 0, **more: object) -> outcome.Told:
    data = {"status": 1, "failure": None, "endings": [], "problems": [], "notes": [], **more}
    found = outcome.read(data, host, machine)
    assert found is not None
    return found


def test_the_first_failure_of_all_is_the_result() -> None:
    late, first = (
        RemoteFailure(place, f"n{place}", at, 3, "exit status 3", rank=place, pid=7)
        for place, at in ((0, 5.0), (1, 4.0))
    )
    ended = [1, 0, 7, 3, 0, 4.0]
    both = {
        "a": told(failure=late.message, notes=["x"]),
        "b": told("n1", 1, failure=first.message, endings=[ended], notes=["x", "y"]),
    }
    result = outcome.combined(both, None)
    assert result.failure is not None
    assert (result.failure.host, result.status, result.notes) == ("n1", 3, ("x", "b: y"))
    assert result.failure.ending is result.endings[0]
    assert [(one.rank, one.host, one.machine) for one in result.endings] == [(1, "n1", 1)]
    later = RemoteFailure(0, "n0", 4.0, 75, "exit status 75")
    assert outcome.combined({"a": told(status=75, failure=later.message)}, None).later
    assert outcome.combined({"a": told()}, None).problems == (outcome.GIVEN_UP,)
    assert [outcome.combined({"a": told(status=one)}, None).problems for one in (0, 143)] == [(), ()]
    gone = RemoteFailure(2, "n2", 9.0, 1, "machine 2 is lost: ssh ended")
    assert (lost := outcome.combined(both, gone).failure) is not None
    assert lost.label == "machine 2 (host n2)"


def test_if_no_other_machine_answers_none_of_them_is_to_blame() -> None:
    def link(heard: float, status: int | None = None, *, here: bool = False, silent: bool = False) -> Any:
        place = SimpleNamespace(here=here, rank=1)
        made = type("Link", (), {"name": "n", "ended_at": 100.0})()
        vars(made).update(place=place, heard=heard, status=status, silent=silent)
        return made

    old, ended, fresh, own = link(90.0), link(100.0, 255), link(99.0), link(99.0, here=True)
    assert outcome.cut_off([own, old, ended], {own: None}, 100.0) is not None
    for others in ([own, old], [old, fresh], [ended, fresh]):
        assert outcome.cut_off(others, {}, 100.0) is None
    assert outcome.cut_off([old, ended], {ended: told()}, 100.0) is None
    gone = outcome.cut_off([old, ended], {}, 100.0)
    result = outcome.combined({"own": told(problems=["x"])}, gone)
    assert (result.status, result.failure, result.problems) == (1, None, (outcome.CUT,))
    for status, why in ((255, "ended with status 255: the connection broke, or the launcher there was killed"),
                        (137, "was terminated by SIGKILL: there is no result")):  # fmt: skip
        assert outcome.lost(link(0.0, status)).cause == f"machine 1 is lost: ssh {why}"


@pytest.mark.parametrize(
    "wrong", [{"status": 999}, {"endings": [["x"]]}, {"failure": {"machine": "x"}}, {"failure": 1}]
)
def test_what_no_launcher_sends_is_no_result(wrong: dict[str, object]) -> None:
    data = {"status": 0, "failure": None, "endings": [], "problems": [], "notes": [], **wrong}
    assert outcome.read(data, "n", 0) is None


def test_this_machine_needs_no_ssh(environ: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "train.py"
    path.write_text(
        "import os, sys, time\nrank = int(os.environ['RANK'])\nwhile rank and not os.path.exists(__file__ + '.said'):\n"
        "    time.sleep(0.01)\nprint(rank, os.environ['A'], flush=True)\nopen(__file__ + '.said', 'w')\nsys.exit(rank * 4)\n"
    )
    environ["PATH"] = str(BIN)
    report = tmp_path / "report.json"
    done = launch(environ, "--hosts", "localhost*2", "--env", "A=b", "--report", report, path)
    assert done.returncode == 4, done.stderr
    assert sorted(done.stdout.splitlines()) == ["0 b", "1 b"]
    assert "rank 1 (machine 0, local rank 1, pid" in done.stderr
    assert "terminated as a result: rank 1" not in done.stderr
    reported = json.loads(report.read_text())
    jsonschema.validate(reported, json.loads((ROOT / "docs/report.schema.json").read_text()))
    places = {(rank["rank"], rank["host"], rank["machine"]) for rank in reported["ranks"]}
    assert places == {(rank, os.uname().nodename, 0) for rank in (0, 1)}
    (tmp_path / "config.yaml").write_text("distributed_type: 'NO'\n")  # each machine has one process
    path.write_text("import os\nprint(os.environ['RANK'], os.environ['WORLD_SIZE'], flush=True)\n")
    flags = ("--config_file", tmp_path / "config.yaml", "--hosts", "localhost,127.0.0.1", *without_torch(tmp_path))
    done = launch({**environ, "PYTHONPATH": str(tmp_path / "modules")}, *flags, path)
    assert (done.returncode, sorted(done.stdout.splitlines())) == (0, ["0 2", "1 2"]), done.stderr
