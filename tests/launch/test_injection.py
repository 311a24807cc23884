"""Scripts and manifests with hostile values in every setting: nothing of a value is run, or becomes a key."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

import pytest
import yaml

from accel_config import CATALOGUE, AccelError, split
from accel_config.settings.declaration import Setting
from accel_launch import jobs, plan
from accel_launch.machine.host import Host
from accel_launch.planning import explain
from accel_launch.schedulers import settle
from tests.conftest import BIN
from tests.launch import hosts
from tests.schedule import sampled

MARK = "broken-out"
HOSTILE = (
    f"x\n>{MARK}",
    f"x\r>{MARK}\r\n>{MARK}",
    f"$(>{MARK})`>{MARK}`",
    f"'; >{MARK}; '\"; >{MARK}; \"",
    f"x; >{MARK} #",
    f"x\u2028>{MARK}\x85>{MARK}\x0b\x0c>{MARK}",
    "x: y\nhostPID: true\n- z",
    "x\n---\nhostPID: true",
    "{hostPID: true}",
    "&a *a !!python/object/apply:os.system [x]",
    "y",
    "1e3",
    "0o17",
    "~",
    "\x1b[31m\x9b31m",
)
FORMS: dict[str, list[str]] = {
    "dry run": [],
    "dry run on machines": [
        "--num_machines",
        "2",
        "--machine_rank",
        "0",
        "--main_process_ip",
        "10.0.0.1",
        "--main_process_port",
        "1",
    ],
    "--slurm": ["--slurm"],
    "--kubernetes": ["--kubernetes", "--num_machines", "2", "--job_name", "job", "--job_image", "i"],
}


def texts() -> Iterator[Setting]:
    """The settings whose values are any text."""
    for one in CATALOGUE.settings:
        if (
            one.kind is str
            and not one.choices
            and one.flags
            and one.name not in ("config_file", "compute_environment")
        ):
            yield one


@pytest.fixture
def tried(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Print one form of a launch; return what was printed, or nothing if it was refused."""
    monkeypatch.chdir(tmp_path)
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    for name in ("srun", "scontrol", "py", "nice"):
        (bin_ / name).write_text("#!/bin/sh\nexit 0\n")
        (bin_ / name).chmod(0o755)

    def printed(form: str, flags: list[str], environ: dict[str, str], script: list[str]) -> str:
        there = hosts.host(0, environ, probe=hosts.Still(), cwd=str(tmp_path))
        host: Host = there.replace(python=str(bin_ / "py"))
        try:
            typed = split(CATALOGUE, [*FORMS[form], *flags, "--", *script])
            settings = settle(typed, environ, host.probe)
            if form.startswith("--"):
                jobs.main(settings, host, typed, "accelerate launch")
                return capsys.readouterr().out
            return explain.shell(plan(settings, host, typed.script))
        except AccelError:
            return ""

    return printed


def unbroken(form: str, text: str, folder: Path) -> None:
    if form == "--kubernetes":
        _check_manifest(text)
        return
    path = f"{folder}/bin:/usr/bin:/bin"
    subprocess.run(["bash"], input=text, text=True, cwd=folder, env={"PATH": path}, capture_output=True, timeout=20)
    assert not list(folder.glob(f"{MARK}*")), text


def _check_manifest(text: str) -> None:
    parts = list(yaml.safe_load_all(text))
    keys: set[str] = set()

    def walk(node: object, place: str) -> None:
        if isinstance(node, dict):
            for key, value in node.items():
                keys.add(key)
                walk(value, key)
        elif isinstance(node, list):
            for value in node:
                walk(value, place)
        elif place in ("command", "value", "name", "image", "memory", "cpu"):
            assert isinstance(node, str), (place, node, text)

    walk(parts, "")
    assert [one["kind"] for one in parts] == ["Service", "Job"]
    assert "hostPID" not in keys
    assert MARK not in keys
    # What other readers of YAML take for a number, a boolean or nothing is quoted.
    plain = [line.partition(": ")[2] or line.strip().removeprefix("- ") for line in text.splitlines()]
    assert not {"y", "1e3", "0o17", "~"} & set(plain), text


def _one_of(one: Setting) -> tuple[str, ...]:
    return HOSTILE[len(one.name) % len(HOSTILE) :][:1]


def _all_of(_one: Setting) -> tuple[str, ...]:
    return HOSTILE


@pytest.mark.parametrize("chosen", [_one_of, pytest.param(_all_of, marks=pytest.mark.exhaustive)])
@pytest.mark.parametrize(
    ("one", "form"), sampled(product(texts(), FORMS), every=3), ids=lambda value: getattr(value, "name", None)
)
def test_no_value_breaks_out(
    form: str, one: Setting, chosen: Callable[[Setting], tuple[str, ...]], tried: Callable[..., str], tmp_path: Path
) -> None:
    flags = ["--num_processes", "2", *([] if form.startswith("--") else ["--dry_run"])]
    (tmp_path / "train.py").touch()
    for value in chosen(one):
        if text := tried(form, [*flags, f"{one.flags[0]}={'A=' * one.pairs}{value}"], {}, ["train.py"]):
            unbroken(form, text, tmp_path)
    (tmp_path / "c.yaml").write_text(yaml.safe_dump({one.key or one.name: "\n".join(HOSTILE)}))
    if text := tried(form, [*flags, "--config_file", "c.yaml"], {}, ["train.py"]):
        unbroken(form, text, tmp_path)


@pytest.mark.parametrize(("form", "value"), sampled(product(FORMS, HOSTILE), every=4))
def test_no_name_or_argument_breaks_out(form: str, value: str, tried: Callable[..., str], tmp_path: Path) -> None:
    dry = [] if form.startswith("--") else ["--dry_run"]
    name = value.replace("/", "-")
    (tmp_path / f"{name}.py").touch()
    (tmp_path / f"{name}.yaml").write_text("num_processes: 2\n")
    (tmp_path / f"{name}").mkdir(exist_ok=True)
    script = [f"{name}.py", value, f"--x={value}"]
    environ = {"ACCELERATE_LAUNCH_ROLE": value, "HOSTNAME": value}
    text = tried(form, [*dry, "--config_file", f"{name}.yaml"], environ, script)
    assert text or form == "--kubernetes"
    if text:
        unbroken(form, text, tmp_path)
    if form == "--slurm":
        assert "SLURM" not in os.environ
        done = subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("value", sampled(HOSTILE, every=3))
def test_notes_and_the_summary_stay_one_line_each(value: str, tmp_path: Path) -> None:
    (tmp_path / "train.py").touch()
    file = tmp_path / f"{value.replace('/', '-')}.yaml"
    file.write_text("num_processes: 2\n")
    flags = [
        "--config_file",
        str(file),
        f"--run_id={value}",
        f"--gpu_ids={value}",
        f"--fsdp_transformer_layer_cls_to_wrap={value}",
    ]
    words = [str(BIN / "accelerate"), "launch", "--num_processes", "1", *flags, "train.py"]
    environ = {**os.environ, "ACCELERATE_USE_CPU": "true"}  # devices that aren't there are a note then
    done = subprocess.run(
        words, cwd=tmp_path, env=environ, capture_output=True, text=True, errors="replace", timeout=60
    )
    assert done.stderr.count("\n") > 1
    for line in done.stderr.removesuffix("\n").split("\n"):
        assert line.startswith("accel"), done.stderr
        assert line.isprintable(), done.stderr
