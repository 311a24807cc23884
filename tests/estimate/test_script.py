"""`--script`: what a script's steps take without data is what they take when the script really runs."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.estimate.conftest import ROOT
from tests.estimate.traced import SMALL

pytestmark = [
    pytest.mark.skipif(find_spec("torch") is None, reason="not installed: torch"),
    pytest.mark.timeout(600),
]
EXAMPLES, SCRIPTS = ROOT / "examples", ROOT / "tests" / "estimate" / "scripts"
CASES: dict[str, list[Any]] = {
    "plain": [SCRIPTS / "loop.py", "--save", "weights.pt"],
    "digits": [EXAMPLES / "train_digits.py", "--batch-size", "16"],
    "accelerate": [EXAMPLES / "train_digits_accelerate.py"],
    "trainer": [EXAMPLES / "train_digits_trainer.py"],
    "pretrained": [SCRIPTS / "pretrained.py", "model", "bf16"],
    "checkpointing": [SCRIPTS / "tuned.py", "model"],
    "adapters": [SCRIPTS / "tuned.py", "model", "lora"],
    "patterns": [SCRIPTS / "patterns.py"],
    "ddp": [1, SCRIPTS / "sharded.py", "ddp"],
    "ddp, views": [1, SCRIPTS / "sharded.py", "ddp-views"],
    "fsdp2": [2, SCRIPTS / "sharded.py", "fsdp2"],
    "fp16": [SCRIPTS / "loop.py", "--amp", "float16", "--optimizer", "SGD", "--accumulate", "2"],
    "on the CPU": [EXAMPLES / "train_preemptible.py", "--checkpoint", "checkpoint.pt"],
}
LEFT_OUT = (
    "digits",
    "fp16",
    "on the CPU",
    "ddp",
    "ddp, views",
    "fsdp2",
)  # of the default run
NEEDS = dict.fromkeys(("trainer", "pretrained", "checkpointing"), "transformers") | {
    "accelerate": "accelerate",
    "adapters": "peft",
}
MISSING = {name for name, library in NEEDS.items() if find_spec(library) is None}


@pytest.fixture(scope="module")
def found(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Each script's answer without data, and the peak when it really runs."""
    folder = tmp_path_factory.mktemp("script")
    (folder / "model").mkdir()
    (folder / "model" / "config.json").write_text(json.dumps(SMALL["llama"]))
    mine = [item for item in request.session.items if item.path == request.path]
    calls: list[Any] = [getattr(item, "callspec", None) for item in mine]
    wanted = {"plain", "patterns", *(call.params.get("name") for call in calls if call is not None)}
    names = [name for name in CASES if name in wanted and name not in MISSING]
    words = [[word if isinstance(word, int) else str(word) for word in CASES[name]] for name in names]
    (folder / "temporary").mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "tests.estimate.really", json.dumps(words)], cwd=folder, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(folder / "temporary")}, timeout=580,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder, dict(zip(names, json.loads(done.stdout), strict=True))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.exhaustive] if name in LEFT_OUT else []) for name in CASES]
)
def test_it_counts_what_torchs_tracker_counts_when_the_script_really_runs(
    name: str, found: tuple[Path, dict[str, Any]]
) -> None:
    if name in MISSING:
        pytest.skip(f"not installed: {NEEDS[name]}; sync the group `hf`")
    traced, really = found[1][name]["traced"], found[1][name]["really"]
    assert isinstance(really, int), really
    assert "training" in traced, traced
    assert traced["training"]["allocated_bytes"] == pytest.approx(really, rel=0.02)
    assert traced["uses_device"] == (name != "on the CPU")
    moments = traced["training"]["moments"]
    assert [moment for moment in moments if moment.startswith("second")] == [
        f"second step, {part}" for part in ("forward pass", "backward pass", "optimizer step")
    ]
    assert (
        moments["second step, forward pass"] >= moments["first step, forward pass"]
    )  # beside the optimizer's states


def test_nothing_is_written_and_what_is_skipped_is_named(found: tuple[Path, dict[str, Any]]) -> None:
    script = SCRIPTS / "loop.py"
    line = script.read_text().splitlines().index("            torch.save(model.state_dict(), args.save)") + 1
    assert {"line": f"loop.py:{line}", "what": "torch.save"} in found[1]["plain"]["traced"]["skipped"]


def test_decisions_by_numbers_that_are_not_known_are_named(found: tuple[Path, dict[str, Any]]) -> None:
    text = (SCRIPTS / "patterns.py").read_text().splitlines()
    lines = [text[int(one.split(":")[1]) - 1].strip() for one in found[1]["patterns"]["traced"]["decided"]]
    assert lines == ["if loss > 1e4 or (loss < 0).any():", "if loss < best:"]


def test_the_peak_is_told_by_the_users_own_lines(found: tuple[Path, dict[str, Any]]) -> None:
    traced = found[1]["plain"]["traced"]
    assert traced["peak_line"].startswith("loop.py:")
    assert {one["kind"] for one in traced["lines"]} >= {"weights", "optimizer", "activations", "logits"}
    text = (SCRIPTS / "loop.py").read_text().splitlines()
    where = {one["kind"]: text[int(one["line"].split(":")[1]) - 1].strip() for one in traced["lines"][::-1]}
    assert where["weights"].endswith(".to(device)")
    assert where["optimizer"].startswith("scaler.step")


STOPS = {
    "value": ("if 0.5 in model.weight:\n    pass\n", "value.py:4 decides by the values of a tensor"),
    "shape": ("loss[loss > 1]\n", "shape.py:4 looks at the values of a tensor"),
    "error": ("raise ValueError('mine')\n", "error.py:4 failed: ValueError: mine"),
    "exit": ("raise SystemExit('no data')\n", "exit.py:4 exited: no data"),
    "end": ("", "end.py ended after 0 optimizer steps; give it enough data and epochs for 2"),
    "group": (
        "import os\nprint(os.environ['LOCAL_RANK'])\n",
        "group.py:5 needs LOCAL_RANK, which launchers set; add",
    ),
    "fsdp": (
        "from torch.distributed.fsdp import FullyShardedDataParallel as F\nF(model)\n",
        "fsdp.py:5 uses FSDP 1, which isn't traced; use DDP or FSDP 2",
    ),
    "download": (
        "from urllib.request import urlretrieve\nurlretrieve('http://x.invalid/a', 'a')\n",
        "download.py:5 downloads http://x.invalid/a, and nothing is written; run the script once",
    ),
    "status": ("import sys\nsys.exit(3)\n", "status.py:5 exited with status 3"),
    "program": (
        "import os\nos.system('git push')\n",
        "program.py:5 failed: PermissionError: estimate-memory --script starts",
    ),
}
START = (
    "import torch\nmodel = torch.nn.Linear(4, 4).to('cuda')\nloss = model(torch.ones(2, 4, device='cuda')).sum()\n"
)


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "accel_estimate", *words],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=580,
        )

    return run


@pytest.mark.exhaustive
def test_what_is_not_supported_stops_with_its_line(tmp_path: Path) -> None:
    for name, (code, _) in STOPS.items():
        (tmp_path / f"{name}.py").write_text(START + code)
    done = subprocess.run(
        [sys.executable, "-m", "tests.estimate.really", json.dumps([[f"{name}.py"] for name in STOPS]), "traced"],
        cwd=tmp_path, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=580,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for (_, message), one in zip(STOPS.values(), json.loads(done.stdout), strict=True):
        stopped = one["traced"]["stopped"]
        assert stopped.startswith(message)
        assert ("ACCEL_ESTIMATE_SCRIPT" in stopped) == ("value" in message)


@pytest.mark.exhaustive
def test_the_command_prints_an_estimate_and_holds_it_against_a_device(
    start: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    import jsonschema

    words = ("--script", str(SCRIPTS / "loop.py"), "--fits", "1MiB", "--json", "--", "--optimizer", "SGD")
    done, on_t4 = start(*words), start(*(word.replace("1MiB", "t4") for word in words))
    assert done.returncode == 1, done.stderr
    data = json.loads(done.stdout)
    schema = ROOT / "packages" / "accel-estimate" / "src" / "accel_estimate" / "schema.json"
    jsonschema.validate(data, json.loads(schema.read_text()))
    assert data["arguments"] == ["--optimizer", "SGD"]
    assert not data["fits"]["fits"]
    contexts = data["training"]["expected_bytes"] - json.loads(on_t4.stdout)["training"]["expected_bytes"]
    assert contexts == pytest.approx(0.55 * 2**30, rel=0.01)
    assert "parameters on cuda" in done.stderr
    assert data["training"]["trainable_parameters"] == 392564


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--script", "absent.py"), "--script absent.py: there is no such file"),
        (("--script", "x.py", "model"), "model: not with --script; write the script's own arguments after --"),
        (("--script", "x.py", "--training"), "--training: not with --script; what the script does counts"),
    ],
)
def test_mistakes_in_the_call(
    words: tuple[str, ...], message: str, start: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    (tmp_path / "x.py").touch()
    done = start(*words)
    assert (done.returncode, done.stderr.strip()) == (2, f"accel-estimate: {message}")
