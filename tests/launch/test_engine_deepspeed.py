"""DeepSpeed's launchers: the command, and what DeepSpeed's own code makes of it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from accel_config import AccelError
from accel_launch import Plan, plan
from accel_launch.engines.common.wrapping import MODULE as RUNNER
from accel_launch.engines.common.wrapping import PARENT
from accel_launch.engines.deepspeed import MODULE, WAYS, over_pdsh
from accel_launch.machine.host import Host
from tests import environments
from tests.conftest import Resolve
from tests.environments import environment
from tests.launch.hosts import Packages, Programs, Still, host
from tests.schedule import sampled


def having(version: str | None = "0.19.8", *, root: bool = False) -> Still:
    """A machine with this version of DeepSpeed."""
    packages = Packages(()) if version is None else Packages(("deepspeed",), versions={"deepspeed": version})
    return Still(programs=Programs(root=root), packages=packages)


TWO = ("--use_deepspeed", "--num_machines", "2", "--num_processes", "4")
MEETING = ("--main_process_ip", "10.0.0.1", "--main_process_port", "29501")
HOSTS = ("--deepspeed_hostfile", "hosts")


def planned(settings: Resolve, here: Path, *flags: str, on: Host | None = None) -> Plan:
    on = on or host(2, probe=having())
    return plan(settings(*TWO, *flags), on.replace(cwd=str(here)), ["train.py", "--lr", "1"])


def options(todo: Plan) -> list[str]:
    """The words for DeepSpeed, up to the program that it is to run."""
    (command,) = todo.commands
    assert (todo.engine, command.argv[:3]) == ("deepspeed", ("/py", RUNNER, MODULE))
    assert command.env == {"PYTHONSAFEPATH": "1"}  # removed again by the program's first words
    assert program(todo)[:3] == ["env", "-u", "PYTHONSAFEPATH"]
    words = list(command.argv[3:])
    return words[: words.index("env")]


def program(todo: Plan) -> list[str]:
    (command,) = todo.commands
    return list(command.argv[command.argv.index("env") :])


MEETING_SAID = ["--master_addr", "10.0.0.1", "--master_port", "29501"]
BOTH_SAID = ["--num_nodes", "2", "--num_gpus", "2"]


@pytest.mark.parametrize(
    ("launcher", "words"),
    [
        (
            "pdsh",
            ["--launcher", "pdsh", "--force_multi", *BOTH_SAID, *MEETING_SAID, "--no_local_rank", "--no_python"],
        ),
        ("nossh", ["--no_ssh", "--node_rank", "1", *BOTH_SAID, *MEETING_SAID, "--no_local_rank", "--no_python"]),
        (
            "openmpi",
            [
                "--launcher",
                "openmpi",
                "--force_multi",
                "--no_ssh_check",
                *MEETING_SAID,
                "--no_local_rank",
                "--no_python",
            ],
        ),
        (
            "mvapich",
            [
                "--launcher",
                "mvapich",
                "--force_multi",
                "--no_ssh_check",
                *MEETING_SAID,
                "--no_local_rank",
                "--no_python",
            ],
        ),
        (
            "mpich",
            ["--launcher", "mpich", "--force_multi", "--no_ssh_check", *MEETING_SAID, "--no_local_rank", PARENT],
        ),
        (
            "slurm",
            [
                "--launcher",
                "slurm",
                "--force_multi",
                "--no_ssh_check",
                *BOTH_SAID,
                *MEETING_SAID,
                "--no_local_rank",
                PARENT,
            ],
        ),
    ],
)
def test_each_launcher(settings: Resolve, here: Path, launcher: str, words: list[str]) -> None:
    flags = (*HOSTS, *MEETING, "--machine_rank", "1", "--deepspeed_multinode_launcher", launcher)
    todo = planned(settings, here, *flags)
    assert options(todo) == ["--hostfile", str(here / "hosts"), *words]
    assert program(todo)[-5:] == ["/py", "-u", "train.py", "--lr", "1"]


def test_pdsh_is_the_default_and_finds_the_main_address_itself(settings: Resolve, here: Path) -> None:
    words = options(planned(settings, here, *HOSTS))
    assert words[words.index("--launcher") + 1] == "pdsh"
    assert "--master_addr" not in words
    assert words[words.index("--master_port") + 1] == "40001"


def test_its_launcher_kills_ranks_that_outstay_a_failure(settings: Resolve, here: Path) -> None:
    killer = planned(settings, here, "--num_machines", "2", "--deepspeed_hostfile", "hosts").killer
    assert killer == "DeepSpeed kills them one after the other, each 30 s after it was asked to end"


def test_only_our_variables_travel(settings: Resolve, here: Path) -> None:
    on = host(2, probe=having(), environ={"SECRET": "1", "PYTHONPATH": "/lib dir"})
    words = program(planned(settings, here, *HOSTS, "--zero_stage", "2", "--gpu_ids", "0,1", on=on))
    told = dict(word.split("=", 1) for word in words[3 : words.index("/py")])
    assert told["ACCELERATE_DEEPSPEED_ZERO_STAGE"] == "2"
    assert told["LOCAL_WORLD_SIZE"] == "2"
    assert told["PYTHONPATH"] == f"/lib dir:{here}"  # DeepSpeed puts the double quotes
    assert "SECRET" not in told
    assert "CUDA_VISIBLE_DEVICES" not in told  # DeepSpeed sets it on each host, from the slots there


@pytest.mark.parametrize("launcher", ["openmpi", "mvapich", "slurm"])
def test_ranks_that_deepspeed_leaves_unnamed_are_named(settings: Resolve, here: Path, launcher: str) -> None:
    words = program(planned(settings, here, *HOSTS, "--deepspeed_multinode_launcher", launcher))
    names = WAYS[launcher].names
    assert names is not None
    assert f'RANK="${{{names["RANK"]}:?}}"' in words[words.index("sh") + 2]
    assert {"MASTER_ADDR=node-1", "MASTER_PORT=40001"} <= set(words)


def test_exclusion_wins(settings: Resolve, here: Path) -> None:
    include = ("--deepspeed_inclusion_filter", "node-1:0")
    words = options(planned(settings, here, *HOSTS, *include))
    assert words[words.index("--include") + 1] == "node-1:0"
    todo = planned(settings, here, *HOSTS, *include, "--deepspeed_exclusion_filter", "node-2:1")
    words = options(todo)
    assert words[words.index("--exclude") + 1] == "node-2:1"
    assert not {"--include", "--num_gpus", "--num_nodes"} & set(words)
    assert any(
        note.startswith("deepspeed_inclusion_filter node-1:0 (--deepspeed_inclusion_filter) has no effect: the excl")
        for note in todo.notes
    )


@pytest.mark.parametrize("words", [["-m"], ["--no_python"], ["--python", "/other"]])
def test_what_is_run(settings: Resolve, here: Path, words: list[str]) -> None:
    on = host(2, probe=having(), cwd=str(here))
    todo = plan(settings(*TWO, *HOSTS, *words, "--dry_run"), on, ["train", "x"])
    expected = {"-m": ["/py", "-u", "-m", "train"], "--no_python": ["train"], "--python": ["/other", "-u", "train"]}
    (command,) = todo.commands
    assert list(command.argv[-len(expected[words[0]]) - 1 :]) == [*expected[words[0]], "x"]
    assert command.argv[0] == ("/other" if words[0] == "--python" else "/py")


def test_root_is_allowed_where_open_mpi_asks(settings: Resolve, here: Path) -> None:
    on = host(2, probe=having(root=True))
    assert "--launcher_args=--allow-run-as-root" in options(
        planned(settings, here, *HOSTS, "--deepspeed_multinode_launcher", "openmpi", on=on)
    )
    assert "--launcher_args=--allow-run-as-root" not in options(planned(settings, here, *HOSTS, on=on))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "but deepspeed_hostfile isn't set, the list of them: give --deepspeed_hostfile"),
        (
            (*HOSTS, "--deepspeed_multinode_launcher", "standard", "--engine", "deepspeed"),
            "deepspeed_multinode_launcher standard (--deepspeed_multinode_launcher) is torch's own agent",
        ),
        (
            (*HOSTS, "--deepspeed_multinode_launcher", "openmpi", "--deepspeed_exclusion_filter", "node-1"),
            "deepspeed_exclusion_filter node-1 (--deepspeed_exclusion_filter): DeepSpeed's launcher openmpi",
        ),
        (
            (*HOSTS, "--deepspeed_multinode_launcher", "slurm", "--deepspeed_exclusion_filter", "node-1"),
            "may leave out the first host, where the ranks would meet: give --main_process_ip",
        ),
        (
            (*HOSTS, *MEETING, "--deepspeed_multinode_launcher", "nossh"),
            "but machine_rank isn't set: give --machine_rank",
        ),
        (
            (*HOSTS, "--machine_rank", "0", "--deepspeed_multinode_launcher", "nossh"),
            "but main_process_ip isn't set, the address at which they meet: give --main_process_ip",
        ),
    ],
)
def test_what_cannot_work_is_refused(settings: Resolve, here: Path, flags: tuple[str, ...], message: str) -> None:
    for dry in ((), ("--dry_run",)):
        with pytest.raises(AccelError) as refusal:
            planned(settings, here, *flags, *dry)
        assert message in str(refusal.value)


NOSSH = ("--deepspeed_multinode_launcher", "nossh", "--machine_rank", "0", *MEETING)


@pytest.mark.parametrize(
    ("text", "version", "flags", "message"),
    [
        (
            None,
            "0.19.8",
            (),
            "deepspeed_hostfile hosts (--deepspeed_hostfile) can't be read: No such file or directory",
        ),
        ("# none\n", "0.19.8", (), "deepspeed_hostfile hosts (--deepspeed_hostfile) lists no host"),
        ("a slots=2\n", "0.19.8", (), "lists 1 hosts, but num_machines is 2 (--num_machines)"),
        ("a slots=2\nb\n", "0.19.8", (), "the line of b has no slots=N"),
        (
            "a slots=2\nb slots=1\n",
            "0.19.8",
            (),
            "gives b 1 slots, but num_processes 4 (--num_processes) on 2 machines",
        ),
        (
            "a slots=3\nb slots=2\n",
            "0.19.8",
            ("--deepspeed_multinode_launcher", "mpich"),
            "gives a 3 slots, but num_processes 4",
        ),
        (
            "a slots=2\nb slots=2\nc slots=2\n",
            "0.19.8",
            ("--deepspeed_multinode_launcher", "mpich"),
            "lists 3 hosts, but num_machines is 2 (--num_machines): DeepSpeed's launcher mpich starts ranks on all",
        ),
        ("a slots=2\nb slots=2\n", None, (), "deepspeed, which isn't installed for /py"),
        ("a slots=2\nb slots=2\n", "0.14.4", NOSSH, "needs deepspeed 0.14.5; installed is 0.14.4"),
    ],
)
def test_what_this_machine_lacks_is_a_note_in_a_dry_run(
    settings: Resolve, here: Path, text: str | None, version: str | None, flags: tuple[str, ...], message: str
) -> None:
    (here / "hosts").unlink()
    if text is not None:
        (here / "hosts").write_text(text)
    on = host(2, probe=having(version))
    with pytest.raises(AccelError) as refusal:
        planned(settings, here, *HOSTS, *flags, on=on)
    assert message in str(refusal.value)
    todo = planned(settings, here, *HOSTS, *flags, "--dry_run", on=on)
    assert any(message in note for note in todo.notes)


def test_a_new_enough_deepspeed_takes_nossh(settings: Resolve, here: Path) -> None:
    for version in ("0.14.5", "0.15.0+cu12", "1.0"):
        assert options(planned(settings, here, *HOSTS, *NOSSH, on=host(2, probe=having(version))))


@pytest.mark.parametrize(
    "word", ["a b", "", "$x", '"', "it's", 'x"y z', "%h", "b\\ s", "`id` $HOME \\\\", "two\nlines"]
)
def test_words_for_pdsh_survive_deepspeeds_quoting_and_a_shell(word: str) -> None:
    quoted = over_pdsh(word)
    if " " in quoted:  # as `PDSHRunner.parse_user_args` does
        quoted = '"{}"'.format(quoted.replace('"', '\\"'))
    # and pdsh, which puts the host, the user and the like for a percent sign and a letter
    line = "printf %s " + re.sub("%(.)", lambda found: "%" if found[1] == "%" else f"<{found[1]}>", quoted)
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=True, timeout=10)
    assert done.stdout == word


# The real launcher, in an environment with DeepSpeed, and with the real programs that it starts wherever they are.

WORDS = [
    "a b",
    "",
    "$HOME",
    '"q"',
    "it's",
    'x"y z',
    "%h %%",
    "back\\slash",
    "`id` \\\\ $x",
    "*",
    "ü",
    "--",
    ":",
    ";",
    "-n",
    "two\nlines",
    "two more\nlines",
]
SHOW = """
import json, os, sys
names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT",
         "ACCELERATE_DEEPSPEED_ZERO_STAGE", "SECRET", "TOOL")
with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "rank" + os.environ["RANK"]), "x") as file:
    json.dump([sys.argv[1:], os.getcwd(), {name: os.environ.get(name) for name in names}], file)
if "fail" in sys.argv and os.environ["RANK"] == "1":
    sys.exit(7)
"""
# A program that runs each of its words' command with the variables that the real one sets, as strict about words.
STAND_INS = {
    "srun": """
import os, subprocess, sys
words = sys.argv[1:]
count, environ = 0, dict(os.environ)
while words[0].startswith("-"):
    word = words.pop(0)
    if word in ("-n", "--nodes"):
        value = int(words.pop(0))
        count = value if word == "-n" else count
    elif word.startswith("--export=ALL"):
        environ.update(part.split("=", 1) for part in word.split(",")[1:])
    else:
        sys.exit("srun: unrecognized option " + word)
assert ":" not in words, "srun: a job of several components"
ran = [subprocess.run(words, env={**environ, "SLURM_PROCID": str(n), "SLURM_LOCALID": "0",
                                  "SLURM_NTASKS": str(count)}).returncode for n in range(count)]
sys.exit(max(ran))
""",
    "sinfo": "",
    "mpiname": "print('MVAPICH2-GDR 2.3.7')",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "bin").mkdir()
    (tmp_path / "show.py").write_text(SHOW)
    return tmp_path


def stand_in(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / "bin" / name
        path.write_text(f"#!{shutil.which('python3')}\n{STAND_INS[name]}")
        path.chmod(0o755)


def launch(
    folder: Path, environ: Mapping[str, str], launcher: str, hosts: str, *words: str, first: str = ""
) -> subprocess.CompletedProcess[str]:
    """Launch the script over the machines of a hostfile, with the programs of a folder first on PATH."""
    machines = hosts.count("\n")
    (folder / "hosts").write_text(hosts)
    deepspeed = environments.deepspeed()
    return subprocess.run(
        [
            *(deepspeed / "accel", "launch", "--use_deepspeed", "--zero_stage", "2", "--engine", "deepspeed"),
            *("--num_machines", str(machines), "--num_processes", "2", "--main_process_ip", "127.0.0.1"),
            *("--deepspeed_hostfile", "hosts", "--deepspeed_multinode_launcher", launcher, "show.py", *words),
        ],
        env={
            **environ,
            "PATH": f"{folder / 'bin'}:{first}{':' if first else ''}{environ['PATH']}",
            "DS_ACCELERATOR": "cpu",
            "SECRET": "1",
        },
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=90,
    )


def seen(folder: Path) -> list[tuple[list[str], str, dict[str, str | None]]]:
    return [json.loads((folder / f"rank{rank}").read_text()) for rank in (0, 1)]


def as_two_ranks(folder: Path, *, local: int) -> None:
    """Check what both ranks were given: every byte, and torch's names."""
    for rank, (words, cwd, names) in enumerate(seen(folder)):
        assert words[: len(WORDS)] == WORDS
        assert Path(cwd) == folder
        assert names.pop("MASTER_PORT")
        names.pop("SECRET")
        names.pop("TOOL")
        assert names == {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank % local),
            "WORLD_SIZE": "2",
            "LOCAL_WORLD_SIZE": str(local),
            "MASTER_ADDR": "127.0.0.1",
            "ACCELERATE_DEEPSPEED_ZERO_STAGE": "2",
        }
    left = {path.name for path in folder.iterdir()} - {"bin", "hosts", "show.py", "rank0", "rank1", "hf", "keys"}
    assert not left, "files were left in the current folder"


@pytest.mark.parametrize(
    ("launcher", "mpi", "hosts", "local", "faked"),
    sampled(
        [
            ("openmpi", "openmpi", "localhost slots=2\n", 2, ()),
            ("mpich", "mpich", "localhost slots=2\n", 2, ()),
            ("mvapich", "mpich", "localhost slots=2\n", 2, ("mpiname",)),
            ("slurm", "", "n1 slots=1\nn2 slots=1\n", 1, ("srun", "sinfo")),
        ],
        every=5,
    ),
)
@pytest.mark.exhaustive
def test_every_byte_arrives(
    folder: Path, environ: dict[str, str], launcher: str, mpi: str, hosts: str, local: int, faked: tuple[str, ...]
) -> None:
    stand_in(folder, *faked)
    environ["ACCELERATE_LAUNCH_WRAP"] = "1: env 'TOOL=a \"b\" $x %r'"
    done = launch(folder, environ, launcher, hosts, *WORDS, first=str(environment(mpi)) if mpi else "")
    assert done.returncode == 0, done.stderr
    as_two_ranks(folder, local=local)
    assert [names["TOOL"] for _words, _cwd, names in seen(folder)] == [None, 'a "b" $x 1']


@pytest.fixture
def ssh(folder: Path) -> Iterator[None]:
    """A real ssh daemon on two addresses of this machine, and an ssh on PATH that reaches it."""
    sshd = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/usr/bin")
    for program in ("ssh", "ssh-keygen", "pdsh"):
        if shutil.which(program) is None or sshd is None:
            pytest.skip("openssh-server and pdsh aren't installed: DeepSpeed's pdsh launcher can't be run")
    keys = folder / "keys"
    keys.mkdir()
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", keys / name], check=True)
    port = _free_port()
    addresses = "".join(f"ListenAddress {address}\n" for address in ("127.0.0.1", "127.0.0.2"))
    (keys / "conf").write_text(
        f"Port {port}\n{addresses}HostKey {keys}/host\nAuthorizedKeysFile {keys}/user.pub\nPidFile none\n"
        "StrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin prohibit-password\n"
    )
    client = f"-p {port} -i {keys}/user -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
    (folder / "bin" / "ssh").write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} {client} "$@"\n')
    (folder / "bin" / "ssh").chmod(0o755)
    Path("/run/sshd").mkdir(exist_ok=True)
    daemon = subprocess.Popen([str(sshd), "-D", "-e", "-f", keys / "conf"], stderr=subprocess.DEVNULL)
    try:
        _until(lambda: subprocess.run([folder / "bin" / "ssh", "127.0.0.2", "true"], stderr=-3).returncode == 0)
        yield
    finally:
        daemon.terminate()
        daemon.wait(10)


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _until(true: Callable[[], bool], within: float = 10.0) -> None:
    end = time.monotonic() + within
    while not true():
        assert time.monotonic() < end, "it didn't come to be"
        time.sleep(0.05)


@pytest.mark.usefixtures("ssh")
@pytest.mark.exhaustive
def test_every_byte_arrives_over_pdsh_and_ssh(folder: Path, environ: dict[str, str]) -> None:
    hosts = "127.0.0.1 slots=1\n127.0.0.2 slots=1\n"
    done = launch(folder, environ, "pdsh", hosts, *WORDS, "fail")
    assert done.returncode == 7, done.stderr
    assert "accel: deepspeed failed, but none of its ranks did: exit status 7" in done.stderr
    as_two_ranks(folder, local=1)
    for _words, _cwd, names in seen(folder):
        assert names["SECRET"] is None  # named variables travel, not the environment
