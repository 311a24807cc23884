"""Printed jobs: batch scripts for Slurm, manifests for Kubernetes."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from accel_launch.running.process import CARRIED
from tests.conftest import BIN, Run
from tests.environments import environment
from tests.launch.slurm import ADDRESS, network

SCRIPT = ["train.py", "--name", "it's $HOME", "$(RANK)"]


@pytest.fixture
def job(accelerate: Run, tmp_path: Path) -> Callable[..., str]:
    """Print a job: ``job("--slurm", ...)``."""
    (tmp_path / "train.py").touch()
    (tmp_path / "no.yaml").write_text("distributed_type: 'NO'\nnum_machines: 1\nuse_cpu: true\n")

    def printed(*flags: str, env: dict[str, str] | None = None, status: int = 0) -> str:
        done = accelerate("launch", *flags, *SCRIPT, env=env)
        assert done.returncode == status, done.stderr
        return done.stderr if status else done.stdout

    return printed


def directives(text: str) -> list[str]:
    return re.findall(r"^#SBATCH --(.*)$", text, re.MULTILINE)


def test_a_batch_script(job: Callable[..., str]) -> None:
    text = job(
        *("--slurm", "--num_machines", "2", "--num_processes", "16", "--mixed_precision=bf16", "--main-process-port"),
        *("29501", "--job_name", "gpt", "--job_time", "1-0", "--job_cpus", "96", "--job_memory", "900G"),
        *(
            "--job_options",
            "partition=gpu",
            "--job_options",
            "--account=lab",
            "--job_options",
            "comment=my first",
            "--machine_rank",
            "0",
            "-q",
        ),
    )
    assert directives(text) == [
        "job-name=gpt",
        "nodes=2",
        "ntasks-per-node=1",
        "gpus-per-node=8",
        "cpus-per-task=96",
        "mem=900G",
        "time=1-0",
        "signal=B:USR1@90",
        "no-requeue",
        "partition=gpu",
        "account=lab",
        "comment='my first'",
    ]
    (command,) = re.findall(r"^    (.*) &$", text, re.MULTILINE)
    words = subprocess.run(["sh", "-c", f"printf '%s\\0' {command}"], capture_output=True, text=True).stdout.split(
        "\0"
    )
    flags = ["--num_processes", "16", "--mixed_precision=bf16", "--main-process-port", "29501"]
    assert words[:-1] == [str(BIN / "python"), "-P", "-m", "accel_cli", "launch", *flags, *SCRIPT]
    assert subprocess.run(["bash", "-n"], input=text, text=True).returncode == 0


def test_what_clusters_differ_in_is_left_open(job: Callable[..., str]) -> None:
    text = job("--slurm", "--job_requeue", "--job_notice", "5m", "--job_options", "time=1:00")
    assert directives(text) == [
        *("job-name=train", "nodes=1", "ntasks-per-node=1", "signal=B:USR1@300", "requeue", "open-mode=append"),
        "time=1:00",
    ]
    assert "# As your cluster needs it:\n##SBATCH --gpus-per-node=8\n##SBATCH --cpus-per-task=32\n\n" in text
    assert "gpus" not in job("--slurm", "--cpu")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--submit",), "--submit needs --slurm"),
        (("--slurm", "--kubernetes"), "give one of --slurm and --kubernetes"),
        (("--kubernetes", "--submit"), "--submit is for --slurm; pipe the manifest of --kubernetes into `kubectl"),
        (
            ("--slurm", "--engine", "slurm"),
            "engine slurm (--engine): this reaches the other machines itself, but the job starts",
        ),
        (
            ("--slurm", "--num_machines", "1:2", "--nproc_per_node", "1"),
            "num_machines 1:2 (--num_machines): the number of machines in a job is fixed",
        ),
        (("--slurm", "--num_machines", "2", "--num_processes", "5"), "can't share them evenly; make it 4 or 6"),
        (("--slurm", "--num_machines", "2", "--num_processes", "3", "--config_file", "no.yaml"), "make it 2 or 4"),
        *(
            (
                ("--slurm", "--job_time", text),
                f"job_time {text} (--job_time) isn't a valid time; write it like 2:30:00",
            )
            for text in ("12h", "soon", "1:2:3:4", "1: 30", "1-", "-1", "1.5", "1-2:3:4:5")
        ),
        *(
            ((scheduler, "--job_memory", text), f"job_memory {text} (--job_memory) isn't a valid")
            for scheduler, text in (
                *(("--slurm", text) for text in ("lots", "64Gi", "1.5G", "G", "-1", "64GB")),
                *(("--kubernetes", text) for text in ("lots", "64 Gi", "64GB", "Gi", "-1")),
            )
        ),
        (
            ("--slurm", "--job_options", "a\n#SBATCH --b"),
            "job_options 'a\\n#SBATCH --b' isn't a valid option of sbatch",
        ),
        (("--kubernetes", "--job_name", "My_Job"), "job_name My_Job (--job_name) isn't a valid host name"),
        (
            ("--kubernetes", "--job_time", "soon"),
            "job_time soon (--job_time) isn't a valid time; write it like 2:30:00",
        ),
    ],
)
def test_what_no_job_can_be_is_refused(job: Callable[..., str], flags: tuple[str, ...], message: str) -> None:
    assert message in job(*flags, status=2)


@pytest.mark.parametrize(
    "flags",
    [
        *(
            ("--slurm", "--job_time", text)
            for text in ("0", "90", "90:30", "2:30:00", "1-12", "1-12:30", "1-12:30:15", "UNLIMITED", "infinite")
        ),
        *(("--slurm", "--job_memory", text) for text in ("0", "4000", "64G", "64g", "1T", "900M", "5000K")),
        *(("--kubernetes", "--job_memory", text) for text in ("64Gi", "64G", "1.5Ti", "1e9", "129M", "128974848")),
    ],
)
def test_what_the_scheduler_accepts_is_accepted(job: Callable[..., str], flags: tuple[str, ...]) -> None:
    assert flags[2] in job("-q", *flags).replace('"', "")


def test_submitting_needs_sbatch(job: Callable[..., str], accelerate: Run, tmp_path: Path) -> None:
    alone = {"PATH": str(tmp_path)}
    assert "sbatch isn't on PATH" in job("--slurm", "--submit", env=alone, status=2)
    sbatch = tmp_path / "sbatch"
    sbatch.write_text("#!/bin/sh\n/bin/cat\nexit 3\n")
    sbatch.chmod(0o755)
    assert job("--slurm", "--submit", "--dry_run", env=alone).startswith("#!/bin/bash\n")  # submits nothing
    done = accelerate("launch", "--slurm", "--submit", *SCRIPT, env=alone)
    assert (done.returncode, done.stdout.splitlines()[0]) == (3, "#!/bin/bash")  # sbatch's own status, and its output


# Kubernetes.

LAUNCHER = ["python3", "-P", "-m", "accel_cli", "launch"]
PODS = ("--kubernetes", "--cpu", "--num_machines", "2", "--nproc_per_node", "2", "--job_image", "lab/train:7")


def parts(text: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(text))


def test_a_manifest(job: Callable[..., str]) -> None:
    text = job(
        *(
            "--kubernetes",
            "--num_machines",
            "2",
            "--num_processes",
            "16",
            "--mixed_precision=bf16",
            "--job_image",
            "i:1",
        ),
        *("--job_cpus", "32", "--job_memory", "64Gi", "--job_time", "1-2:00", "--job_requeue"),
        env={"ACCELERATE_LAUNCH_DYNAMO_BACKEND": "inductor", "ACCELERATE_LAUNCH_AWS_SECRET_ACCESS_KEY": "hidden"},
    )
    service, whole = parts(text)
    assert service["spec"] == {
        "clusterIP": "None",
        "publishNotReadyAddresses": True,
        "selector": {"job-name": "train"},
    }
    spec = whole["spec"]
    counts = {name: spec[name] for name in ("completionMode", "completions", "parallelism", "backoffLimit")}
    assert counts == {"completionMode": "Indexed", "completions": 2, "parallelism": 2, "backoffLimit": 2}
    assert spec["activeDeadlineSeconds"] == 26 * 3600
    pod = spec["template"]["spec"]
    assert (pod["restartPolicy"], pod["subdomain"]) == ("Never", service["metadata"]["name"])
    (container,) = pod["containers"]
    meeting = ["--num_machines", "2", "--main_process_ip", "train-0.train", "--main_process_port", "29500"]
    flags = ["--num_processes", "16", "--mixed_precision=bf16"]
    script = ["train.py", "--name", "it's $HOME", "$$(RANK)"]  # as Kubernetes expands it
    assert container["command"] == [*LAUNCHER, *meeting, *flags, *script]
    assert container["resources"] == {
        "requests": {"cpu": "32", "memory": "64Gi"},
        "limits": {"nvidia.com/gpu": "8"},
    }
    assert container["env"][0] == {"name": "ACCELERATE_LAUNCH_DYNAMO_BACKEND", "value": "inductor"}
    assert "hidden" not in text
    carried = container["env"][-1]
    assert carried["name"] == CARRIED
    assert carried["valueFrom"]["secretKeyRef"] == {"name": "train-lifeline", "key": "words"}


KUBECTL = """\
#!/bin/sh
[ "$1 $2 $3" = "create secret generic" ] || exit 1
cat "${5#--from-file=words=}" > "secret-$4"
"""


def made_secret(text: str, folder: Path) -> str:
    """Make the Secret as the manifest says, with a stand-in for kubectl; return what its key holds."""
    (folder / "bin").mkdir()
    (folder / "bin" / "kubectl").write_text(KUBECTL)
    (folder / "bin" / "kubectl").chmod(0o755)
    (line,) = re.findall("(?m)^# (.*kubectl create secret .*)$", text)
    subprocess.run(["sh", "-c", line], cwd=folder, env={"PATH": f"{folder}/bin:/usr/bin:/bin"}, check=True)
    return (folder / "secret-train-lifeline").read_text()


def test_a_manifest_holds_no_secret_but_the_line_that_makes_it(job: Callable[..., str], tmp_path: Path) -> None:
    text = job(*PODS)
    assert text == job(*PODS), "nothing random is printed"
    assert re.fullmatch("[0-9a-f]{64}", made_secret(text, tmp_path))
    assert {part["kind"] for part in parts(text)} == {"Service", "Job"}


@pytest.mark.parametrize("value", ["é 数", "a\u202eb", "é\u2028", "\x1b[31m", "a\nb"])
def test_a_manifest_shows_what_it_holds(accelerate: Run, tmp_path: Path, value: str) -> None:
    """Letters as they are; what a terminal would obey, or doesn't show, as an escape."""
    (tmp_path / "train.py").touch()
    text = accelerate("launch", "--cpu", "--kubernetes", "--job_image", "i", "train.py", value).stdout
    (whole,) = parts(text)
    assert whole["spec"]["template"]["spec"]["containers"][0]["command"][-1] == value
    assert text.replace("\n", "").isprintable()
    assert (value in text) == value.isprintable()


def test_what_has_no_effect_or_must_be_in_the_image_is_noted(accelerate: Run, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("")
    pods = ("launch", "--cpu", "--kubernetes", "--num_machines", "2", "--job_image", "i")
    told = accelerate(*pods, "--job_notice", "60", "--job_options", "qos=x", "train.py").stderr
    assert "the image must have accel-cli for its python3, and train.py in its working folder\n" in told
    assert "job_notice 60 (--job_notice) and job_options qos=x (--job_options)" in told
    assert ": without effect in a Kubernetes Job\n" in told
    assert "accel: note: make the Secret train-lifeline once, before the first job of this name: od " in told
    assert "python3, and the module pkg.train\n" in accelerate(*pods, "-m", "pkg.train").stderr
    assert "python3, and /srv/train.py at that path\n" in accelerate(*pods, "/srv/train.py").stderr
    told = accelerate("launch", "--cpu", "--slurm", "--job_image", "i", "train.py").stderr
    assert "job_image i (--job_image): without effect in a Slurm job\n" in told
    told = accelerate("launch", "--cpu", "--job_notice", "60", "--dry_run", "train.py").stdout
    assert "job_notice 60 (--job_notice): without effect, since neither --slurm nor --kubernetes is given\n" in told


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--checkpoint", "/data/c.pt"), "what the script saves (/data/c.pt)\n"),
        (("--lr", "1", "--output-dir=/out"), "what the script saves (/out)\n"),
        (("--job_requeue", "train.py"), "what the script saves\n"),
        (("--resume", "--lr", "1"), ""),
        (("--checkpoint", "s3://bucket/c.pt"), ""),
        ((), ""),
    ],
)
def test_a_checkpoint_that_goes_with_its_pod_is_noted(
    accelerate: Run, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    (tmp_path / "train.py").write_text("")
    own = words if words[1:] == ("train.py",) else ("train.py", *words)
    told = accelerate("launch", "--cpu", "--kubernetes", "--job_image", "i", *own).stderr
    assert ("mounts no volume that outlives a pod: add one for " + said in told) if said else "volume" not in told


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 5400), ("1:30", 90), ("2:00:00", 7200), ("1-0", 86400), ("1-12:30", 131400), ("0-0:0:5", 5)],
)
def test_times_are_slurms(job: Callable[..., str], text: str, seconds: int) -> None:
    (whole,) = parts(job("--kubernetes", "--job_time", text))
    assert whole["spec"]["activeDeadlineSeconds"] == seconds


def test_one_machine_needs_no_service(job: Callable[..., str]) -> None:
    (whole,) = parts(job("--kubernetes", "--cpu"))
    pod = whole["spec"]["template"]["spec"]
    assert "subdomain" not in pod
    (container,) = pod["containers"]
    assert container["command"][:9] == [*LAUNCHER, "--num_machines", "1", "--machine_rank", "0"]
    assert container["env"] == []
    assert container["image"] == "IMAGE"


def test_pods_that_are_preempted(job: Callable[..., str]) -> None:
    """They have time to save; an eviction, and a script that asks for another start, use up no try."""
    (whole,) = parts(job("--kubernetes", "--grace", "59.5"))
    assert whole["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 75
    assert "podFailurePolicy" not in whole["spec"]  # there is no other try
    (whole,) = parts(job("--kubernetes", "--job_requeue"))
    assert whole["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 45
    evicted, asking = whole["spec"]["podFailurePolicy"]["rules"]
    assert evicted == {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}
    assert asking == {"action": "Ignore", "onExitCodes": {"operator": "In", "values": [75]}}


@pytest.mark.parametrize(
    "flags",
    [
        (*PODS, "--job_memory", "1Gi", "--job_requeue"),
        *(pytest.param(one, marks=pytest.mark.exhaustive) for one in (PODS, ("--kubernetes",))),
    ],
)
def test_kubernetes_knows_all_of_it(job: Callable[..., str], tmp_path: Path, flags: tuple[str, ...]) -> None:
    bin_ = environment("kubernetes")
    path = tmp_path / "job.yaml"

    def judged(text: str) -> subprocess.CompletedProcess[str]:
        path.write_text(text)
        words = [bin_ / "kubernetes-validate", "--strict", path]
        return subprocess.run(words, capture_output=True, text=True, timeout=60)

    text = job(*flags)
    done = judged(text)
    assert done.returncode == 0, done.stdout + done.stderr
    assert judged(text.replace("completions:", "completion:")).returncode != 0


SUM = (
    "import json, os, sys, torch, torch.distributed as dist\n"
    "dist.init_process_group('gloo')\n"
    "mine = torch.tensor(float(dist.get_rank() + 1))\n"
    "dist.all_reduce(mine)\n"
    "sys.stdout.write(json.dumps([dist.get_rank(), dist.get_world_size(), mine.item(), sys.argv[1:]]) + '\\n')\n"
    "dist.destroy_process_group()\n"
)


def expanded(word: str, env: dict[str, str]) -> str:
    """Expand a word of a command as Kubernetes does: $(NAME) is the variable, if it is set, and $$ is $."""
    return re.sub(
        r"\$(\$|\(([^)]*)\))",
        lambda found: "$" if found[1] == "$" else env.get(found[2], found[0]),
        word,
        flags=re.DOTALL,
    )


def started(
    manifest: dict[str, Any], secret: str, index: int, folder: Path, within: tuple[str, ...]
) -> subprocess.Popen[str]:
    """Start the command of the pod with this index, with only the variables that Kubernetes sets."""
    (container,) = manifest["spec"]["template"]["spec"]["containers"]
    name = manifest["metadata"]["name"]
    place = "metadata.annotations['batch.kubernetes.io/job-completion-index']"
    env = {"PATH": f"{BIN}:/usr/bin:/bin:/usr/sbin:/sbin", "HOME": str(folder), "HOSTNAME": f"{name}-{index}"}
    env |= {"JOB_COMPLETION_INDEX": str(index), "KUBERNETES_SERVICE_HOST": "10.96.0.1"}
    for variable in container["env"]:
        if variable["name"] == CARRIED:
            env[CARRIED] = secret
        elif "valueFrom" in variable:
            assert variable["valueFrom"] == {"fieldRef": {"fieldPath": place}}
            env[variable["name"]] = str(index)
        else:
            env[variable["name"]] = variable["value"]
    words = [expanded(word, env) for word in container["command"]]
    return subprocess.Popen(
        [*within, *words], env=env, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.fixture
def pods_network() -> Iterator[tuple[str, ...]]:
    with network({"train-0.train": ADDRESS}) as within:
        yield within


@pytest.mark.exhaustive
def test_two_pods_meet(job: Callable[..., str], tmp_path: Path, pods_network: tuple[str, ...]) -> None:
    pytest.importorskip("torch")
    text = job(*PODS)
    (tmp_path / "train.py").write_text(SUM)
    _service, whole = parts(text)
    secret = made_secret(text, tmp_path)
    pods = [started(whole, secret, index, tmp_path, pods_network) for index in (1, 0)]
    outputs = [pod.communicate(timeout=150) for pod in pods]
    assert [pod.returncode for pod in pods] == [0, 0], outputs
    ranks = sorted(json.loads(line) for out, _err in outputs for line in out.splitlines())
    assert ranks == [[rank, 4, 10.0, SCRIPT[1:]] for rank in range(4)]
    assert "machine 1 of 2" in outputs[0][1]
    assert "no secret" not in outputs[0][1] + outputs[1][1]
