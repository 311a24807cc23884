"""`accelerate tpu-config` on a pod of four workers, behind a strict gcloud."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

import accel_tpu
from tests.conftest import BIN
from tests.launch.processes import until
from tests.schedule import sampled
from tests.tpu.conftest import NAMED, ZONE, Cloud, Command


def by_worker(text: str) -> dict[str, list[str]]:
    """The lines of a text by the worker in front of each."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.startswith("["):
            label, _, rest = line[1:].partition("] ")
            found.setdefault(label, []).append(rest)
    return found


def table(text: str) -> dict[str, str]:
    """How each worker ended, by the table at the end."""
    rows = [
        line.removeprefix("accel: ").split("  ", 1) for line in text.splitlines() if line.startswith("accel: worker")
    ]
    return {row[0].strip(): row[1].strip() for row in rows if len(row) == 2}


ALL = [f"worker {place}" for place in range(4)]


def test_every_worker_runs_it_and_its_output_has_its_number(cloud: Cloud, tpu_config: Command) -> None:
    done = tpu_config("--command", 'echo "out of ${HOME##*-}"; pwd; echo "err of ${HOME##*-}" >&2')
    assert done.returncode == 0, done.stderr
    assert by_worker(done.stdout) == {name: [f"out of {name[-1]}", "/usr/share"] for name in ALL}
    assert by_worker(done.stderr) == {name: [f"err of {name[-1]}"] for name in ALL}
    assert table(done.stderr) == dict.fromkeys(ALL, "ok")
    assert "SSH: Attempting" not in done.stderr
    assert not cloud.started()


@pytest.mark.exhaustive
def test_output_is_live_and_workers_run_at_once(cloud: Cloud, tmp_path: Path) -> None:
    # Each waits for a file that the other makes, so in turns neither would end.
    command = f"me=${{HOME##*-}}; echo up; touch {tmp_path}/$me; until [ -e {tmp_path}/$((1 - me)) ]; do sleep 0.05; done; until [ -e {tmp_path}/door ]; do sleep 0.05; done"
    with cloud.start("tpu-config", "--worker", "0,1", "--command", command) as running:
        assert running.stdout is not None
        assert sorted([running.stdout.readline(), running.stdout.readline()]) == [
            "[worker 0] up\n",
            "[worker 1] up\n",
        ]
        assert running.poll() is None
        (tmp_path / "door").touch()
        assert running.wait(30) == 0


@pytest.mark.parametrize(
    ("worker", "there"), sampled([("3,1-2,3", [1, 2, 3]), ("2", [2]), ("0,3", [0, 3]), ("1-2", [1, 2])], every=4)
)
def test_some_workers(tpu_config: Command, worker: str, there: list[int]) -> None:
    done = tpu_config("--worker", worker, "--command", "echo $HOME")
    assert done.returncode == 0
    assert sorted(by_worker(done.stdout)) == [f"worker {place}" for place in there]


def test_a_worker_that_is_not_there(cloud: Cloud, tpu_config: Command) -> None:
    for worker, why in (
        ("4", "there is no worker 4; the workers are 0 to 3"),
        ("x", "'x' isn't valid"),
        ("3-1", "'3-1' isn't valid"),
    ):
        done = tpu_config("--worker", worker, "--command", "true")
        assert done.returncode == 2
        assert (
            done.stderr
            == f"accelerate tpu-config: --worker {worker}: {why}{'' if 'no worker 4' in why else '; give all, or numbers such as 0,3 or 0-3'}\n"
        )
    assert not any("ssh" in call for call in cloud.calls)


@pytest.mark.exhaustive
def test_statuses_come_back_and_the_others_go_on(tpu_config: Command, cloud: Cloud) -> None:
    done = tpu_config(
        "--command",
        "case $HOME in *-1) exit 7;; *-2) sleep 0.7; kill -9 $$;; *-3) sleep 0.7; exit 255;; esac; sleep 1; echo done",
    )
    assert done.returncode == 7
    assert by_worker(done.stdout) == {"worker 0": ["done"]}
    assert table(done.stderr) == {
        "worker 0": "ok",
        "worker 1": "exit status 7",
        "worker 2": "exit status 137",
        "worker 3": "exit status 255",
    }
    assert "accel: worker 1 failed first\n  cause: exit status 7\n" in done.stderr
    assert all(len(cloud.received(str(place))) == 1 for place in range(4)), "a command that failed was run again"


@pytest.mark.parametrize("status", sampled([0, 1, 2, 126, 127, 128, 254, 255], every=4))
def test_every_status_is_kept(tpu_config: Command, status: int) -> None:
    assert tpu_config("--worker", "2", "--command", f"exit {status}").returncode == status


@pytest.mark.exhaustive
def test_a_connection_that_fails_is_tried_again(tpu_config: Command, cloud: Cloud) -> None:
    cloud.save(trouble={"1": {"refused": 3}, "2": {"refused": 99}})
    done = tpu_config("--command", "echo ran", "--worker", "0-2")
    assert done.returncode == 255
    assert by_worker(done.stdout) == {"worker 0": ["ran"], "worker 1": ["ran"]}
    assert table(done.stderr) == {
        "worker 0": "ok",
        "worker 1": "ok",
        "worker 2": "exit status 255: ssh can't connect",
    }
    assert "Connection refused" in "".join(by_worker(done.stderr)["worker 2"])
    assert "worker 1" not in by_worker(done.stderr)


@pytest.mark.exhaustive
def test_a_command_whose_connection_is_lost_is_not_run_again(tpu_config: Command, cloud: Cloud) -> None:
    cloud.save(trouble={"1": {"dropped": 0.7}})
    done = tpu_config(
        "--worker",
        "0,1",
        "--command",
        "echo began; echo x >>runs; sleep 2; echo done".replace("runs", '"$HOME/runs"'),
    )
    assert done.returncode == 255
    assert (cloud.folder / "worker-1" / "runs").read_text() == "x\n"
    assert len(cloud.received("1")) == 2, "gcloud connected a second time, and was let in but not let begin"
    ends = table(done.stderr)
    assert ends["worker 0"] == "ok"
    assert ends["worker 1"].startswith("exit status 255: no report of its end; it may still run on ")
    assert (
        "to end it: gcloud compute tpus tpu-vm ssh pod --zone us-central1-a --command 'kill -TERM -- -"
        in ends["worker 1"]
    )


@pytest.mark.exhaustive
def test_what_a_lost_connection_leaves_is_asked_to_end(tpu_config: Command, cloud: Cloud) -> None:
    cloud.save(trouble={"1": {"dropped": 0.5}})
    tpu_config("--worker", "1", "--command", f"trap 'touch {cloud.folder}/saved; exit' TERM; sleep 60 & wait")
    assert until((cloud.folder / "saved").exists)


@pytest.mark.exhaustive
def test_what_a_lost_connection_leaves_and_does_not_end_is_killed(tpu_config: Command, cloud: Cloud) -> None:
    cloud.save(trouble={"1": {"dropped": 0.5}})
    tpu_config("--worker", "1", "--command", "trap '' INT TERM HUP; while :; do sleep 0.1; done")
    time.sleep(2)
    assert cloud.started(), "it has some seconds to end in"
    assert until(lambda: not cloud.started())


def test_a_launcher_that_is_killed_leaves_nothing_on_the_workers(cloud: Cloud) -> None:
    with cloud.start("tpu-config", "--command", "echo up; exec sleep 61") as running:
        assert running.stdout is not None
        for _worker in range(4):
            running.stdout.readline()
        running.kill()
    assert until(lambda: not cloud.runs("sleep 61"))


@pytest.mark.exhaustive
def test_what_stays_in_the_background_does_not_hold_us(tpu_config: Command, cloud: Cloud) -> None:
    began = time.monotonic()
    done = tpu_config("--worker", "1", "--command", "sleep 31 & echo done")
    assert done.returncode == 0, done.stderr
    assert by_worker(done.stdout) == {"worker 1": ["done"]}
    assert time.monotonic() - began < 15
    assert cloud.runs("sleep 31"), "a service that a command starts goes on"


@pytest.mark.exhaustive
def test_a_connection_that_does_not_close_does_not_hold_us(tpu_config: Command, cloud: Cloud) -> None:
    cloud.save(lingers=31)
    began = time.monotonic()
    done = tpu_config("--worker", "1", "--command", "echo done; exit 3")
    assert (done.returncode, done.stdout) == (3, "[worker 1] done\n")
    assert time.monotonic() - began < 15
    assert not cloud.started()


def test_a_worker_that_does_not_know_its_name(tpu_config: Command, cloud: Cloud) -> None:
    cloud.on_workers("hostname", "#!/bin/sh\nexit 1\n")
    done = tpu_config("--worker", "1", "--command", "echo out; echo err >&2; exit 3")
    assert done.returncode == 3
    assert by_worker(done.stdout) == {"worker 1": ["out"]}
    assert by_worker(done.stderr) == {"worker 1": ["err"]}


def test_nothing_of_the_output_is_lost_or_taken_for_ours(tpu_config: Command) -> None:
    command = "for i in 1 2 3; do printf 'accel-%s ended 3\\n' $i >&2; done; printf 'no end' >&2; head -c 300000 /dev/zero | tr '\\0' x"
    done = tpu_config("--worker", "0", "--command", command)
    assert done.returncode == 0
    assert by_worker(done.stderr)["worker 0"][:4] == [
        "accel-1 ended 3",
        "accel-2 ended 3",
        "accel-3 ended 3",
        "no end",
    ]
    assert "".join(by_worker(done.stdout)["worker 0"]).count("x") == 300000


@pytest.mark.exhaustive
def test_a_slow_reader_gets_it_all(cloud: Cloud) -> None:
    command = "head -c 6000000 /dev/zero | tr '\\0' x; echo; echo end"
    with cloud.start("tpu-config", "--worker", "0", "--command", command) as running:
        time.sleep(4)
        out, _err = running.communicate(timeout=30)
    assert running.returncode == 0
    assert out.count("x") == 6000000
    assert out.endswith("end\n")


# Before anything is run.


def one_message(done: subprocess.CompletedProcess[str], *parts: str) -> None:
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("accelerate tpu-config: ")
    assert len(done.stderr.splitlines()) == 1, done.stderr
    for part in parts:
        assert part in done.stderr


def test_no_gcloud(tpu_config: Command, cloud: Cloud) -> None:
    (cloud.folder / "bin" / "gcloud").unlink()
    one_message(tpu_config("--command", "true"), "gcloud isn't on PATH", "gcloud auth login")


def test_not_logged_in(tpu_config: Command, cloud: Cloud) -> None:
    cloud.save(account=False)
    one_message(tpu_config("--command", "true"), "gcloud isn't logged in", "gcloud auth login")


def test_no_project(tpu_config: Command, cloud: Cloud) -> None:
    cloud.save(project="")
    one_message(tpu_config("--command", "true"), "gcloud config set project")


def test_no_name(tpu_config: Command) -> None:
    one_message(tpu_config("--command", "true", name=""), "tpu_name isn't set; give --tpu_name NAME")


def test_a_wrong_name(tpu_config: Command) -> None:
    one_message(
        tpu_config("--command", "true", name="pot"),
        "doesn't find the TPU pot in zone us-central1-a (--tpu_name, --tpu_zone)",
    )


def test_no_zone(tpu_config: Command, cloud: Cloud) -> None:
    one_message(tpu_config("--command", "true", zone=""), "the zone isn't set; give --tpu_zone ZONE")
    cloud.save(property_zone=ZONE)
    assert tpu_config("--command", "true", zone="").returncode == 0


def test_a_wrong_zone(tpu_config: Command) -> None:
    one_message(
        tpu_config("--command", "true", zone="moon"),
        "doesn't find zone moon (--tpu_zone)",
        "gcloud compute zones list",
    )


def test_a_pod_that_is_stopped(tpu_config: Command, cloud: Cloud) -> None:
    cloud.save(tpus={"pod": {"zone": ZONE, "workers": 4, "state": "STOPPED"}})
    one_message(tpu_config("--command", "true"), "is STOPPED; start it and wait until it is READY")


@pytest.mark.parametrize("name", ["-x", "--help", ""])
def test_a_name_is_no_flag(tpu_config: Command, name: str, cloud: Cloud) -> None:
    one_message(
        tpu_config(f"--tpu_name={name}", "--command", "true", name=""),
        "isn't a valid tpu_name" if name else "tpu_name isn't set",
    )
    assert not cloud.calls


def test_nothing_to_run(tpu_config: Command) -> None:
    one_message(tpu_config(), "there is nothing to run; give --command COMMAND")


def test_words_that_are_not_quoted(tpu_config: Command) -> None:
    one_message(tpu_config("--command", "echo", "a", "b"), "'a' isn't a flag", "quote")


def test_a_command_file_that_is_not_there(tpu_config: Command) -> None:
    one_message(tpu_config("--command_file", "setup.sh"), "--command_file: the command file setup.sh can't be read")


# Where the commands come from.


def asked(done: subprocess.CompletedProcess[str]) -> list[str]:
    """The command line that a dry run prints, as a shell reads it."""
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return shlex.split(done.stdout)


GCLOUD = ["gcloud", "compute", "tpus", "tpu-vm", "ssh", "pod", "--zone", ZONE, "--command"]


def test_debug_prints_what_it_would_run_and_asks_nothing(tpu_config: Command, cloud: Cloud) -> None:
    for flag in ("--debug", "--dry_run", "--dry-run"):
        assert asked(tpu_config("--command", "ls", flag)) == [*GCLOUD, "cd /usr/share || exit; ls", "--worker", "all"]
    assert not cloud.calls


def test_a_secret_is_not_printed(tpu_config: Command) -> None:
    done = tpu_config("--env", "HF_TOKEN=hf_x y", "--env", "TOKENIZERS_PARALLELISM=no", "--command", "ls", "--debug")
    assert done.returncode == 0
    assert "env 'HF_TOKEN=***' TOKENIZERS_PARALLELISM=no " in shlex.split(done.stdout)[9]
    assert done.stderr == "accel: note: not shown: HF_TOKEN; put the value where *** stands\n"
    assert tpu_config("--env", "HF_TOKEN=a b", "--command", '[ "$HF_TOKEN" = "a b" ]').returncode == 0


@pytest.mark.exhaustive
def test_use_alpha(tpu_config: Command) -> None:
    assert asked(tpu_config("--command", "ls", "--use_alpha", "--debug"))[:3] == ["gcloud", "alpha", "compute"]
    assert tpu_config("--command", "true", "--use_alpha").returncode == 0


@pytest.mark.exhaustive
def test_the_printed_line_does_the_same_when_it_is_pasted(tpu_config: Command, cloud: Cloud, tmp_path: Path) -> None:
    (tmp_path / "setup.sh").write_text("# it's a 'comment'\ncat <<END\n$HOME \"quoted\"\nEND\n")
    words = ["--command_file", "setup.sh", "--env", "A=a 'b' $c", "--worker", "1,2"]
    line = tpu_config(*words, "--debug").stdout
    pasted = subprocess.run(
        ["bash", "-c", line], env=cloud.environ, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    ours = tpu_config(*words)
    assert pasted.returncode == ours.returncode == 0
    assert sorted(pasted.stdout.splitlines()) == sorted(
        line for lines in by_worker(ours.stdout).values() for line in lines
    )


@pytest.mark.exhaustive
def test_what_is_no_text_arrives_and_is_printed_as_it_is(tpu_config: Command, cloud: Cloud, tmp_path: Path) -> None:
    (tmp_path / "latin.sh").write_bytes(b"printf 'caf\xe9' | od -An -tx1\n")
    cloud.environ["PYTHONIOENCODING"] = "utf-8:strict"  # as in a locale that has a language
    words = [BIN / "accelerate", "tpu-config", *NAMED, "--worker", "0", "--command_file", "latin.sh"]
    printed = subprocess.run([*words, "--debug"], env=cloud.environ, cwd=tmp_path, capture_output=True)
    assert (printed.returncode, printed.stderr) == (0, b"")
    assert b"caf\xe9" in printed.stdout
    pasted = subprocess.run(["bash", "-c", printed.stdout], env=cloud.environ, capture_output=True)
    assert pasted.stdout.split() == b"63 61 66 e9".split()
    assert tpu_config("--worker", "0", "--command_file", "latin.sh").stdout.split()[2:] == ["63", "61", "66", "e9"]
    shown = subprocess.run(
        [BIN / "accelerate", "launch", "--tpu_cluster", *NAMED, "--dry_run", b"caf\xe9.py"],
        env=cloud.environ, capture_output=True,
    )  # fmt: skip
    assert shown.returncode == 0
    assert b"caf\xe9.py" in shown.stdout


def test_several_commands_share_a_shell(tpu_config: Command) -> None:
    done = tpu_config(
        "--worker",
        "0",
        "--command",
        "x='a  b' # one",
        "--command",
        'echo "$x"',
        "--command",
        "false",
        "--command",
        "echo no",
    )
    assert (done.returncode, done.stdout) == (1, "[worker 0] a  b\n")


def test_installing_comes_first(tpu_config: Command) -> None:
    line = asked(tpu_config("--install_accelerate", "--accelerate_version", "1.2.0", "--command", "ls", "--debug"))
    first = "cd /usr/share || exit; eval 'pip install accelerate==1.2.0' || exit; eval 'python3 -m pip install accel-tpu=="
    assert line[9].startswith(first)
    assert line[9].endswith(" || exit; ls")
    alone = asked(tpu_config("--install_accelerate", "--debug"))[9]
    assert alone.startswith("cd /usr/share || exit; eval 'pip install accelerate -U' || exit; python3 -m pip install")


@pytest.mark.parametrize("there", [True, False])
def test_installing_prepares_what_launch_needs_on_a_worker(cloud: Cloud, tpu_config: Command, there: bool) -> None:
    cloud.on_workers("pip", '#!/bin/sh\necho "pip $*"\n')
    status = f'[ "$4" != "accel-tpu=={accel_tpu.__version__}" ] || exit {0 if there else 1}'
    cloud.on_workers("python3", f'#!/bin/sh\necho "python3 $*"\n{status}\n')
    done = tpu_config("--install_accelerate", "--worker", "1")
    assert done.returncode == 0, done.stderr
    ours = f"accel-tpu=={accel_tpu.__version__}"
    installed = ["[worker 1] pip install accelerate -U", f"[worker 1] python3 -m pip install {ours}"]
    assert done.stdout.splitlines() == installed
    assert (f"pip found no {ours}" in done.stderr) != there


def test_a_version_that_is_not_used_is_not_looked_at(tpu_config: Command) -> None:
    assert asked(tpu_config("--accelerate_version", "nonsense", "--command", "ls", "--debug"))
    one_message(
        tpu_config("--install_accelerate", "--accelerate_version", "nonsense", "--debug"),
        "'nonsense' isn't a valid version",
    )


def config(tmp_path: Path, **keys: Any) -> tuple[str, str]:
    path = tmp_path / "pod.yaml"
    path.write_text(
        "compute_environment: LOCAL_MACHINE\ndistributed_type: XLA\n"
        + "".join(f"{k}: {json.dumps(v)}\n" for k, v in keys.items())
    )
    return "--config_file", str(path)


def test_all_of_it_from_the_config_file(tpu_config: Command, tmp_path: Path, cloud: Cloud) -> None:
    cloud.on_workers(
        "sudo", '#!/bin/sh\necho "as root: $1"\nexec /usr/bin/env -i PATH="$PATH" HOME="$HOME" SHELL="$SHELL" "$@"\n'
    )
    file = config(
        tmp_path,
        tpu_name="pod",
        tpu_zone=ZONE,
        commands=["echo $A", "echo two"],
        tpu_use_sudo=True,
        tpu_env=["A=x y"],
    )
    done = tpu_config(*file, "--worker", "3", name="", zone="")
    assert (done.returncode, done.stdout) == (0, "[worker 3] as root: setsid\n[worker 3] x y\n[worker 3] two\n")


def test_what_wins(tpu_config: Command, tmp_path: Path) -> None:
    script = tmp_path / "setup.sh"
    script.write_text("of the file")
    file = config(tmp_path, command_file=str(script), commands=["of the config"])

    def text(*words: str) -> str:
        return asked(tpu_config(*file, *words, "--debug"))[9]

    assert "of the file" in text()
    assert text("--command", "typed") == "cd /usr/share || exit; typed"
    (tmp_path / "other.sh").write_text("another file")
    assert "another file" in text("--command_file", "other.sh")
    one_message(
        tpu_config("--command", "a", "--command_file", "other.sh", "--debug"),
        "--command and --command_file can't be combined",
    )


@pytest.mark.exhaustive
def test_vms_by_name(tpu_config: Command, cloud: Cloud) -> None:
    cloud.save(vms=["vm-a", "vm-b", "vm-c"])
    words = ["--vm", "vm-a", "--vm", "vm-c", "--command", "echo ${HOME##*/}"]
    done = tpu_config(*words, name="")
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == ["[vm-a] worker-vm-a", "[vm-c] worker-vm-c"]
    printed = tpu_config(*words, "--worker", "1", "--debug", name="").stdout
    assert shlex.split(printed)[:6] == ["gcloud", "compute", "ssh", "vm-c", "--zone", ZONE]
    done = tpu_config("--vm", "vm-a", "--vm", "vm-x", "--command", "echo ran", name="")
    assert (done.returncode, done.stdout) == (1, "[vm-a] ran\n")
    assert "vm-x  exit status 1: gcloud doesn't find the VMs vm-x in zone us-central1-a" in done.stderr


@pytest.mark.exhaustive
def test_a_first_key_is_made_once(tpu_config: Command, cloud: Cloud) -> None:
    cloud.key.unlink()
    assert tpu_config("--command", "true").returncode == 0
    assert len([call for call in cloud.calls if "ssh" in call]) == 5
    assert tpu_config("--command", "true").returncode == 0
    assert len([call for call in cloud.calls if "ssh" in call]) == 9


# Signals.


def interrupted(cloud: Cloud, command: str, numbers: list[int], *words: str) -> tuple[int, str, str]:
    """Start it on two workers, wait until both are up, send the signals, and return how it ended."""
    with cloud.start("tpu-config", "--worker", "0,1", "--command", command, *words) as running:
        assert running.stdout is not None
        first = running.stdout.readline() + running.stdout.readline()
        assert first.count("up") == 2
        for number in numbers:
            running.send_signal(number)
            time.sleep(0.3)
        out, err = running.communicate(timeout=40)
    return running.returncode, out, err


@pytest.mark.parametrize("number", sampled([signal.SIGINT, signal.SIGTERM], every=2))
def test_a_signal_reaches_the_remote_commands(cloud: Cloud, number: int) -> None:
    name = signal.Signals(number).name.removeprefix("SIG")
    command = f"trap 'echo saved; exit 3' {name}; echo up; while :; do sleep 0.1; done"
    code, out, err = interrupted(cloud, command, [number])
    assert code == -number
    assert by_worker(out) == {"worker 0": ["saved"], "worker 1": ["saved"]}
    assert table(err) == {"worker 0": "exit status 3", "worker 1": "exit status 3"}
    assert not [process for process in cloud.started() if "sleep" in process.name()]


@pytest.mark.exhaustive
def test_a_program_in_python_is_interrupted(cloud: Cloud) -> None:
    """A shell starts what it puts in the background with SIGINT ignored; Python would then know no interrupt."""
    command = 'exec python3 -uc \'import time\ntry: print("up"); [time.sleep(0.1) for _ in range(600)]\nexcept KeyboardInterrupt: print("interrupted")\''
    code, out, _err = interrupted(cloud, command, [signal.SIGINT])
    assert code == -signal.SIGINT
    assert by_worker(out) == {"worker 0": ["interrupted"], "worker 1": ["interrupted"]}


@pytest.mark.exhaustive
def test_what_does_not_end_is_killed_there(cloud: Cloud) -> None:
    code, _out, err = interrupted(
        cloud, "trap '' INT TERM; echo up; while :; do sleep 0.1; done", [signal.SIGINT], "--grace", "3s"
    )
    assert code == -signal.SIGINT
    assert table(err) == dict.fromkeys(
        ["worker 0", "worker 1"], "exit status 130: killed, because it didn't end in time"
    )
    assert not [process for process in cloud.started() if "sleep" in process.name()]


@pytest.mark.exhaustive
def test_a_second_interrupt_ends_it_at_once_and_says_what_may_still_run(cloud: Cloud) -> None:
    began = time.monotonic()
    code, _out, err = interrupted(
        cloud, "trap '' INT; echo up; while :; do sleep 0.1; done", [signal.SIGINT, signal.SIGINT]
    )
    assert code == -signal.SIGINT
    assert time.monotonic() - began < 10
    for end in table(err).values():
        assert end.startswith("terminated by SIGKILL: no report of its end; it may still run on ")
        assert "--command 'kill -TERM -- -" in end
    assert until(lambda: not cloud.started()), "the workers end what nobody looks after any more"


def test_an_interrupt_between_attempts_to_connect(cloud: Cloud) -> None:
    cloud.save(vms=["vm-a"], trouble={"vm-a": {"refused": 99}})
    vm = ("--vm", "vm-a", "--tpu_zone", ZONE)
    with cloud.start("tpu-config", "--command", "echo ran", name=vm) as running:
        assert running.stderr is not None
        while "(attempt 1 of 10); next attempt in 5 seconds" not in running.stderr.readline():
            assert running.poll() is None
        began = time.monotonic()
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=20)
    assert running.returncode == -signal.SIGINT
    assert time.monotonic() - began < 4
    assert out == ""
    assert "accel: vm-a  exit status 130: not started\n" in err
    assert cloud.received("vm-a") == []


@pytest.mark.exhaustive
def test_a_vm_that_refuses_at_first_is_tried_again(tpu_config: Command, cloud: Cloud) -> None:
    cloud.save(vms=["vm-a"], trouble={"vm-a": {"refused": 1}})
    done = tpu_config("--vm", "vm-a", "--command", "echo ran", name="")
    assert (done.returncode, done.stdout) == (0, "[vm-a] ran\n")
    assert "[vm-a] ssh can't connect (attempt 1 of 10); next attempt in 5 seconds\n" in done.stderr
