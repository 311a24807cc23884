"""`--trace`: what it counts without data is what torch counts on real tensors, and what it can't count is said."""

import json
import re
import subprocess
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from accel_estimate import Ask, Recipe, Tracing, estimate, load
from accel_estimate.errors import UsageError
from accel_estimate.tracing import limits
from tests.estimate.conftest import ROOT
from tests.estimate.traced import SMALL, counted
from tests.schedule import sampled

MISSING = [name for name in limits.LIBRARIES if find_spec(name) is None]
needs_libraries = pytest.mark.skipif(
    bool(MISSING), reason=f"not installed: {', '.join(MISSING)}; sync the group `hf`"
)
pytestmark = pytest.mark.filterwarnings("ignore")

RECIPES = {
    "fp32": Recipe(batch_size=2, seq_len=128),
    "plain": Recipe(batch_size=2, seq_len=128, optimizer_form="plain"),
    "fused": Recipe(batch_size=1, seq_len=16, optimizer_form="fused"),
    "bf16": Recipe(batch_size=2, seq_len=128, param_dtype="bfloat16"),
    "autocast": Recipe(batch_size=2, seq_len=128, mixed_precision="bf16"),
    "fp16": Recipe(batch_size=2, seq_len=64, mixed_precision="fp16"),
    "checkpointed": Recipe(batch_size=4, seq_len=128, gradient_checkpointing="full"),
    "accumulated": Recipe(batch_size=1, seq_len=16, gradient_accumulation=4),
    "ddp": Recipe(batch_size=1, seq_len=16, num_processes=8),
    "sgd": Recipe(batch_size=4, seq_len=128, optimizer="sgd"),
    "lion": Recipe(batch_size=2, seq_len=64, optimizer="lion"),
    "adafactor": Recipe(batch_size=2, seq_len=64, optimizer="adafactor"),
    "8-bit": Recipe(batch_size=2, seq_len=64, optimizer="adamw_8bit"),
}
SHARDED = {
    "full": Recipe(seq_len=64, num_processes=4, fsdp="full"),
    "narrow": Recipe(seq_len=64, num_processes=4, fsdp="full", mixed_precision="bf16", gradient_checkpointing="full"),
    "accumulated": Recipe(seq_len=64, num_processes=64, fsdp="full", gradient_accumulation=2),
    "grad_op": Recipe(seq_len=64, num_processes=4, fsdp="grad_op", optimizer="adamw_8bit"),
    "hybrid": Recipe(seq_len=64, num_processes=16, fsdp="hybrid"),
}
CASES = [(family, name) for family in SMALL for name in RECIPES if family != "vit" or name != "checkpointed"]


def tape(family: str, recipe: Recipe, **how: bool) -> Any:
    from accel_estimate.tracing import step
    from accel_estimate.tracing.building import Origin

    return step.trace(Origin(family, SMALL[family]), recipe, **how).tape


def most(found: Any) -> int:
    return max(peak.total for peak in found.peaks())


@needs_libraries
@pytest.mark.parametrize(("family", "name"), sampled(CASES, every=9))
def test_without_data_it_counts_what_torchs_tracker_counts_on_real_tensors(family: str, name: str) -> None:
    recipe = RECIPES[name].replace(attention="eager")  # the one attention that the CPU runs as a device does
    assert most(tape(family, recipe)) == pytest.approx(counted(family, recipe), rel=0.02)


@needs_libraries
@pytest.mark.parametrize("name", sampled(SHARDED, every=3))
def test_sharded_by_fsdp(name: str) -> None:
    recipe = SHARDED[name].replace(attention="eager")
    found = tape("llama", recipe)
    assert most(found) == pytest.approx(counted("llama", recipe), rel=0.02)
    kinds = ("communication", "gradients")
    gathered, reduced = ({it.stream for it in found.blocks if it.stream and it.kind == kind} for kind in kinds)
    assert reduced
    assert gathered - reduced  # what is gathered, and what is reduced, has its own


@needs_libraries
@pytest.mark.parametrize("name", ["bf16", "autocast"])
def test_where_the_formulas_are_exact_the_trace_agrees(name: str, tmp_path: Path) -> None:
    config = {**SMALL["llama"], "hidden_size": 1024, "intermediate_size": 2816, "vocab_size": 8000}
    (tmp_path / "config.json").write_text(json.dumps(config))
    recipe = RECIPES[name].replace(batch_size=4, seq_len=1024)
    model = load(str(tmp_path))
    formula, trace = (estimate(model, Ask(training=recipe, trace=how)).training for how in (None, Tracing()))
    assert formula is not None
    assert trace is not None
    assert (formula.traced, trace.traced) == (False, True)
    assert trace.allocated[1] == pytest.approx(formula.allocated[1], rel=0.01)
    for part, amount in trace.peak.parts:
        assert amount == pytest.approx(getattr(formula.peak.parts, part), rel=0.02, abs=2**20)
    assert trace.trainable == formula.trainable
    assert trace.reserved[1] >= trace.allocated[1]


@needs_libraries
def test_the_forms_of_the_optimizer_differ_as_its_temporaries_do() -> None:
    found = {
        form: most(tape("llama", Recipe(seq_len=8, optimizer_form=form))) for form in ("foreach", "fused", "plain")
    }
    weights = 4 * 1_000_000
    assert found["foreach"] > found["plain"] > found["fused"]
    assert found["foreach"] - found["fused"] > weights / 2


@needs_libraries
def test_adapters_alone_are_trained() -> None:
    from accel_estimate.tracing import step
    from accel_estimate.tracing.building import Origin

    recipe = Recipe(param_dtype="bfloat16", lora_rank=8, lora_targets=("q_proj", "v_proj"), seq_len=64)
    found = step.trace(Origin("llama", SMALL["llama"]), recipe)
    assert found.trained == 3 * 8 * (128 + 128 + 128 + 32)
    assert most(found.tape) < most(tape("llama", recipe.replace(lora_rank=0, lora_targets=())))


SPACES: dict[str, dict[str, Any]] = {
    "mamba": {"hidden_size": 256, "num_hidden_layers": 3, "vocab_size": 500},
    "falcon_mamba": {"hidden_size": 256, "num_hidden_layers": 3, "vocab_size": 500, "tie_word_embeddings": False},
    "jamba": {**SMALL["llama"], "attn_layer_period": 2, "attn_layer_offset": 1, "num_experts": 4},
}


@needs_libraries
@pytest.mark.parametrize("kind", ["bf16", "checkpointed", "sharded"])
@pytest.mark.parametrize("family", SPACES)
def test_state_spaces_run_as_the_kernels_of_a_device(family: str, kind: str, tmp_path: Path) -> None:
    module = import_module(f"transformers.models.{family}.modeling_{family}")
    known = module.mamba_selective_scan
    (tmp_path / "config.json").write_text(json.dumps(SPACES[family] | {"model_type": family, "architectures": None}))
    recipe = {**RECIPES, "sharded": SHARDED["narrow"]}[kind].replace(batch_size=4, seq_len=1024)
    model = load(str(tmp_path))
    formula, trace = (estimate(model, Ask(training=recipe, trace=how)).training for how in (None, Tracing()))
    assert formula is not None
    assert trace is not None
    assert (formula.traced, trace.traced) == (False, True)
    assert formula.allocated[1] == pytest.approx(trace.allocated[1], rel=0.02)
    assert module.mamba_selective_scan is known


@needs_libraries
def test_what_the_kernels_refuse_is_named(tmp_path: Path) -> None:
    """Jamba's norms have fp32 weights under autocast, so their results are wider than what else the scan reads."""
    (tmp_path / "config.json").write_text(
        json.dumps(SPACES["jamba"] | {"model_type": "jamba", "architectures": None})
    )
    report = estimate(load(str(tmp_path)), Ask(training=RECIPES["autocast"], trace=Tracing()))
    assert report.training is not None
    assert not report.training.traced
    assert re.search(r"modeling_jamba\.py:\d+ failed: .*selective_scan: B is torch\.float32", report.notes[-1])


OWN = """
from transformers import LlamaConfig, LlamaForCausalLM
class OwnConfig(LlamaConfig):
    model_type = "own"
class OwnForCausalLM(LlamaForCausalLM):
    config_class = OwnConfig
    def forward(self, input_ids, labels=None, **more):
        if input_ids.sum().item() > 0:
            raise ValueError
        return super().forward(input_ids, labels=labels, **more)
"""


@needs_libraries
def test_code_that_looks_at_values_is_named_with_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    api: Any = import_module("transformers")
    monkeypatch.setattr(api.dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    (tmp_path / "own.py").write_text(OWN)
    mapped = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnForCausalLM"}
    config = {**SMALL["llama"], "auto_map": mapped, "architectures": ["OwnForCausalLM"], "hidden_act": "silu"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    asked = Ask(training=Recipe(seq_len=64), trace=Tracing(trust_remote_code=True))
    report = estimate(load(str(tmp_path)), asked)
    assert report.training is not None
    assert not report.training.traced
    assert re.search(
        r"Not traced, so the formula answers: .*own\.py:8 looks at the values of a tensor", report.notes[-1]
    )


@pytest.mark.parametrize(
    ("recipe", "named"),
    [
        (Recipe(zero_stage=2), "--zero_stage"),
        (Recipe(num_processes=2, tp=2), "--tp"),
        (Recipe(lora_rank=8, quantize="nf4"), "--quantize"),
        (Recipe(mixed_precision="fp8"), "fp8"),
        (Recipe(loss="fused"), "--loss"),
        (Recipe(fsdp="full", offload_param_device="cpu", num_processes=2), "--offload_param_device"),
    ],
)
def test_what_is_not_traced_is_named(recipe: Recipe, named: str) -> None:
    with pytest.raises(limits.UntraceableError, match=named):
        limits.check(recipe)


def test_missing_libraries_are_named_with_the_line_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> Any:
        return None if name == "peft" else object()

    monkeypatch.setattr(limits, "find_spec", absent)
    with pytest.raises(UsageError, match=r"--trace: needs peft; run: uv pip install .*accel-estimate\[trace\]'"):
        limits.check_installed()


def test_trace_needs_training(llama: Path, run: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    done = run(str(llama), "--trace")
    assert (done.returncode, done.stderr.strip()) == (2, "accel-estimate: --trace: add --training")


@needs_libraries
def test_the_command_prints_a_trace_and_nothing_else(
    tmp_path: Path, run: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    import jsonschema

    (tmp_path / "config.json").write_text(json.dumps(SMALL["llama"]))
    done = run(str(tmp_path), "--training", "--trace", "--seq_len", "64", "--json", "--compile")
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    schema = ROOT / "packages" / "accel-estimate" / "src" / "accel_estimate" / "schema.json"
    jsonschema.validate(found, json.loads(schema.read_text()))
    training = found["training"]
    assert training["source"] == "trace"
    assert training["allocated_bytes"] <= training["reserved_bytes"] <= training["device_bytes"]
    assert training["ranges"]["allocated"]["expected"] == training["allocated_bytes"]
    assert sum(training["components"].values()) == training["expected_bytes"]
    assert list(training["moments"]) == ["forward pass", "backward pass", "optimizer step"]
    assert any("torch.compile isn't traced" in note for note in found["notes"])
