"""The answer: its flags fit when they are pasted back, and nothing cheaper does."""

import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from accel_estimate import Ask, Recipe, Serving, estimate, load
from accel_estimate.answer import changes
from accel_estimate.answer.search import changed, flags
from accel_estimate.cli import main
from accel_estimate.devices.limits import SPARE, room
from accel_estimate.errors import UsageError
from accel_estimate.estimation.subject import as_stored
from accel_estimate.model import families
from accel_estimate.model.weights import logical
from accel_estimate.training.step import estimate_training
from tests.estimate.test_cli import asked

KNOWN = json.loads((Path(__file__).parent / "families.json").read_text())
Made = Callable[..., str]


@pytest.fixture
def described(tmp_path: Path) -> Made:
    """Return a function that makes the folder of a known model, with a config.json alone."""

    def make(name: str, **more: Any) -> str:
        folder = tmp_path / name.replace("/", "-")
        folder.mkdir(exist_ok=True)
        config = KNOWN[name]["config"] | {"max_position_embeddings": 8192, "torch_dtype": "bfloat16"} | more
        (folder / "config.json").write_text(json.dumps(config))
        return str(folder)

    return make


def typed(recipe: Recipe) -> list[str]:
    """Return the flags of a recipe."""
    words = ((name, value) for name, value in recipe if value != getattr(Recipe, name))
    return [word for name, value in words for word in (f"--{name}", str(value))]


def drawn(random: Random) -> tuple[str, Recipe]:
    """Return a model and a run that no small device can hold."""
    name = random.choice(("Llama-3.2-1B", "Qwen2.5-0.5B", "GPT-2", "Gemma-2B", "Mixtral-8x7B", "Mamba-2.8B"))
    processes = random.choice((1, 1, 2, 8))
    spread: dict[str, Any] = random.choice(({}, {"zero_stage": 1}, {"fsdp": "grad_op"})) if processes > 1 else {}
    rank = random.choice((0, 0, 0, 8))
    return name, Recipe(
        mixed_precision=random.choice(("no", "bf16")),
        batch_size=random.choice((1, 4, 12)),
        seq_len=random.choice((512, 4096)),
        attention=random.choice(("sdpa", "eager")),
        optimizer=random.choice(("adamw", "sgd")),
        lora_rank=rank,
        num_processes=processes,
        **spread,
    )


@pytest.mark.parametrize("seed", [*range(2), *(pytest.param(n, marks=pytest.mark.exhaustive) for n in range(2, 20))])
def test_the_answer_fits_when_it_is_pasted_back_and_nothing_cheaper_does(
    described: Made, capsys: pytest.CaptureFixture[str], seed: int
) -> None:
    random = Random(seed)
    name, recipe = drawn(random)
    folder = described(name)
    model = load(folder)
    weights, blueprint = logical(model.tensors, model.config), families.read(model.config)
    assert blueprint is not None

    def need(chosen: tuple[changes.Change, ...]) -> float:
        try:
            wanted, _ = as_stored(model.config, changed(recipe, chosen))
            return estimate_training(weights, blueprint, wanted).expected
        except UsageError:
            return float("inf")

    known = changes.combinations(changes.of_training(recipe, language_head=blueprint.vocab > 0))
    now = need(())
    one = min(map(need, random.sample(known, 12)))
    limit = f"{int(random.uniform(min(one, 0.9 * now) / (1 - SPARE), 0.95 * now) / 2**20)}MiB"
    words = [folder, "--dtypes", "int8", "--training", *typed(recipe), "--fits", limit]
    report = asked(capsys, *words, status=1)
    answer = report["fits"]["answer"]
    assert answer["fits"]

    pasted = asked(capsys, *words, *answer["flags"].split())["fits"]
    assert pasted["fits"]
    assert pasted["needed_bytes"] == answer["needed_bytes"]

    size = len(answer["changes"])
    cheaper = [chosen for chosen in known if sum(it.cost for it in chosen) < answer["cost"]]
    near = [it for it in cheaper if len(it) == size or {change.name for change in it} < set(answer["changes"])]
    cheaper = near + random.sample(cheaper, min(len(cheaper), 100))
    usable = room(pasted["limit_bytes"])
    assert answer["needed_bytes"] <= usable
    fitting = [flags(chosen) for chosen in cheaper if need(chosen) <= usable]
    assert fitting == []

    batch, length = answer["largest_batch"], answer["longest_context"]
    assert 0 < length <= (blueprint.positions or 2**26)
    further = [("--batch_size", batch), ("--seq_len", length)]
    for flag, most in further:
        words_there = [*words, *answer["flags"].split(), flag, str(most)]
        assert asked(capsys, *words_there)["fits"]["needed_bytes"] <= usable
        if most != blueprint.positions or flag == "--batch_size":
            words_there[-1] = str(most + 1)
            assert main([*words_there, "--json"]) in (0, 1)
            assert json.loads(capsys.readouterr().out)["fits"]["needed_bytes"] > usable


def test_what_leaves_less_than_a_twentieth_barely_fits_and_is_no_answer(
    described: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [described("Llama-3.2-1B"), "--dtypes", "int8", "--training", "--batch_size", "4"]
    full = asked(capsys, *words, "--gradient_checkpointing", "full", "--fits", "80")["fits"]["needed_bytes"]
    close = f"{1.03 * full / 2**20:.0f}MiB"
    assert main([*words, "--gradient_checkpointing", "full", "--fits", close]) == 0
    assert " barely fits " in capsys.readouterr().out
    answer = asked(capsys, *words, "--fits", close, status=1)["fits"]["answer"]
    assert answer["needed_bytes"] <= room(int(1.03 * full) + 2**20)


def test_only_what_barely_fits_is_said_so(described: Made, capsys: pytest.CaptureFixture[str]) -> None:
    words = [described("Llama-3.2-1B"), "--dtypes", "int8", "--training", "--lora_rank", "8", "--quantize", "nf4"]
    least = asked(capsys, *words, "--fits", "1GiB", status=1)["fits"]["answer"]["needed_bytes"]
    assert main([*words, "--fits", f"{1.03 * least / 2**20:.0f}MiB"]) == 1
    assert "Barely fits with --" in capsys.readouterr().out


def test_fsdp_1_with_adapters_is_answered_by_checkpointing_that_is_not_reentrant(
    described: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [described("Llama-3.2-1B"), "--dtypes", "int8", "--training", "--lora_rank", "8", "--batch_size", "8"]
    words += ["--fsdp", "full", "--num_processes", "2", "--fsdp_version", "1", "--transformers", "4.48"]
    words += ["--gradient_checkpointing", "full", "--loss", "fused"]
    held = asked(capsys, *words, "--fits", "80")["fits"]["needed_bytes"]
    answer = asked(capsys, *words, "--fits", f"{held // 2**20}MiB", status=1)["fits"]["answer"]
    assert answer["flags"] == "--use_reentrant false"


def test_the_answer_is_one_line(described: Made, run: Callable[..., Any]) -> None:
    done = run(
        described("Llama-3.2-1B"), "--training", "--mixed_precision", "bf16", "--batch_size", "4", "--fits", "3090"
    )
    assert done.returncode == 1
    *_, verdict, answer = done.stdout.splitlines()
    assert "does not fit 3090 (23.56 GiB)" in verdict
    assert answer.startswith("Fits with --")
    assert "GiB of 23.56 GiB; largest batch " in answer
    assert " tokens" in answer
    assert "What would lower it most" not in done.stdout


def test_cheap_changes_come_before_dear_ones(described: Made) -> None:
    def answer(device: str, **recipe: Any) -> str:
        fit = estimate(load(described("Llama-3.1-8B")), Ask(training=Recipe(**recipe), device=device)).fit
        assert fit is not None
        assert fit.answer is not None
        return fit.answer.flags

    lora: dict[str, Any] = {"mixed_precision": "bf16", "lora_rank": 16, "batch_size": 2}
    assert answer("54GiB", **lora) == "--gradient_checkpointing selective"
    assert answer("46GiB", **lora) == "--loss fused --gradient_checkpointing selective"
    assert answer("8xh100", num_processes=8, mixed_precision="bf16").endswith("--fsdp full")
    assert "--quantize nf4" in answer("11GiB", **lora)


def test_several_devices_are_used_unless_their_number_is_typed(
    described: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (described("Llama-3.2-1B"), "--training", "--fsdp", "full", "--fits")
    weights = [
        asked(capsys, *words, *more)["training"]["components"]["weights"]
        for more in (("8xh100",), ("h100", "--num_processes", "8"), ("8xh100", "--num_processes", "4"), ("h100",))
    ]
    assert weights == [pytest.approx(weights[0] * part, abs=8) for part in (1, 1, 2, 8)]


def test_fewer_devices_than_processes_are_a_mistake(described: Made, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([described("GPT-2"), "--training", "--fits", "8xh100", "--num_processes", "16"]) == 2
    assert "more than the 8 devices of --fits 8xh100" in capsys.readouterr().err


def test_what_fits_says_how_far_it_goes(described: Made, capsys: pytest.CaptureFixture[str]) -> None:
    fits = asked(capsys, described("GPT-2", n_positions=1024), "--training", "--fits", "h100")["fits"]
    assert "answer" not in fits
    assert fits["longest_context"] == fits["model_context"] == 1024
    assert fits["largest_batch"] > 8


def test_cards_without_bfloat16_get_no_such_type(described: Made, capsys: pytest.CaptureFixture[str]) -> None:
    words = (described("Llama-3.2-1B"), "--training", "--batch_size", "2", "--fits")
    flags = [asked(capsys, *words, card, status=1)["fits"]["answer"]["flags"] for card in ("2xt4", "2x14.56GiB")]
    assert "--mixed_precision fp16" in flags[0]
    assert "bf" not in flags[0]
    assert "bf" in flags[1]


def test_nothing_fits(described: Made, capsys: pytest.CaptureFixture[str]) -> None:
    words = (described("Llama-3.1-8B"), "--training", "--fits", "1GiB")
    answer = asked(capsys, *words, status=1)["fits"]["answer"]
    assert not answer["fits"]
    assert "largest_batch" not in answer
    least = asked(capsys, *words, *answer["flags"].split(), status=1)["fits"]
    assert least["needed_bytes"] == answer["needed_bytes"] > least["limit_bytes"]


def test_offloading_says_what_the_machine_must_have(described: Made, capsys: pytest.CaptureFixture[str]) -> None:
    words = (described("Llama-3.1-8B"), "--training", "--mixed_precision", "bf16", "--fits", "3090")
    answer = asked(capsys, *words, status=1)["fits"]["answer"]
    assert "--offload_optimizer_device cpu" in answer["flags"]
    assert (
        12 * KNOWN["Llama-3.1-8B"]["parameters"] <= answer["host_bytes"] <= 20 * KNOWN["Llama-3.1-8B"]["parameters"]
    )


def test_a_server_gets_packed_weights_or_more_devices(described: Made, capsys: pytest.CaptureFixture[str]) -> None:
    words = (described("Llama-3.1-8B"), "--serving", "--fits")
    for device, expected in (("12GiB", "--dtypes float8"), ("8GiB", "--dtypes int4"), ("2x12GiB", "--tp 2")):
        answer = asked(capsys, *words, device, status=1)["fits"]["answer"]
        assert answer["flags"] == expected
        pasted = asked(capsys, *words, device, *answer["flags"].split())
        assert pasted["fits"]["needed_bytes"] == answer["needed_bytes"]
        assert pasted["serving"]["longest_context"] == answer["longest_context"] <= 8192
    short = asked(capsys, *words, "8GiB", "--quantize", "gptq4")
    assert short["fits"]["of"] == "serving with weights packed as gptq4"


def test_weights_alone_get_a_narrower_type(described: Made, capsys: pytest.CaptureFixture[str]) -> None:
    words = (described("Llama-3.1-8B"), "--dtypes", "float32", "--fits", "24G")
    answer = asked(capsys, *words, status=1)["fits"]["answer"]
    assert answer["flags"] == "--dtypes bfloat16"
    assert asked(capsys, *words, *answer["flags"].split())["fits"]["needed_bytes"] == answer["needed_bytes"]
    assert "answer" not in asked(capsys, *words[:-1], "1GiB", "--dtypes", "int4", status=1)["fits"]


def test_several_devices_share_the_weights(described: Made, capsys: pytest.CaptureFixture[str]) -> None:
    """Groups stay whole and in their order: the fullest of four devices has a quarter and at most a layer more."""
    words = (described("Llama-3.1-8B"), "--dtypes", "float32", "--fits")
    one, four = asked(capsys, *words, "40GiB")["fits"], asked(capsys, *words, "4x24GiB")["fits"]
    layer = 4 * (4096 * 4096 * 2 + 2 * 4096 * 1024 + 3 * 4096 * 14336 + 2 * 4096)
    assert one["needed_bytes"] / 4 <= four["needed_bytes"] <= one["needed_bytes"] / 4 + layer
    assert four["of"] == "weights in float32, on the fullest of 4 devices"
    answer = asked(capsys, *words, "2x8GiB", status=1)["fits"]["answer"]
    assert answer["flags"] == "--dtypes bfloat16"
    assert answer["needed_bytes"] < 8 * 2**30


@pytest.mark.parametrize(("factor", "traces"), [(0.98, 1), (1.3, 2), (20, 3)])
def test_a_traced_step_gets_a_traced_answer(
    described: Made, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, factor: float, traces: int
) -> None:
    """A trace that needs more than the formulas makes them aim lower, a few times."""
    from accel_estimate.tracing import result

    folder = described("Llama-3.2-1B")
    model = load(folder)
    weights, blueprint = logical(model.tensors, model.config), families.read(model.config)
    assert blueprint is not None
    seen: list[float] = []

    def traced(_: object, recipe: Recipe, **__: object) -> tuple[Any, tuple[str, ...]]:
        done = estimate_training(weights, blueprint, recipe)
        seen.append(factor * done.expected)
        return done.replace(expected=seen[-1], traced=True), ()

    monkeypatch.setattr(result, "traced", traced)
    words = (folder, "--training", "--trace", "--batch_size", "8", "--fits", "24GiB")
    fits = asked(capsys, *words, status=1)["fits"]
    assert len(seen) == 1 + traces or factor == 20
    if factor == 20:
        assert "answer" not in fits
        return
    assert fits["answer"]["needed_bytes"] == round(seen[-1])
    assert asked(capsys, *words, *fits["answer"]["flags"].split())["fits"]["needed_bytes"] == round(seen[-1])


def test_every_change_is_in_the_table_of_costs_with_its_cost() -> None:
    text = (Path(__file__).parents[2] / "docs" / "estimate-formulas.md").read_text()
    usual = Recipe(batch_size=2, attention="eager", num_processes=8)
    old = changes.of_training(usual.replace(lora_rank=8), language_head=True, bf16=False)
    known = (
        old[3:4]
        + changes.of_training(usual, language_head=True)
        + changes.of_serving(Serving(dtype="float32"), 2, packed=False)
    )
    for change in (change for axis in known for change in axis):
        assert f"| {change.name} | {change.cost} |" in text


def test_bf16_weights_under_fsdp_are_without_mixed_precision(described: Made) -> None:
    model = load(described("Llama-3.1-8B"))
    recipe = Recipe(mixed_precision="bf16", fsdp="full", num_processes=8, gradient_checkpointing="full", loss="fused")
    now = estimate(model, Ask(training=recipe)).training
    assert now is not None
    fit = estimate(model, Ask(training=recipe, device=f"8x{int(now.expected / 1.2 / 2**20)}MiB")).fit
    assert fit is not None
    assert fit.answer is not None
    assert fit.answer.flags == "--mixed_precision no --param_dtype bfloat16"
    typed = recipe.replace(param_dtype="bfloat16")
    for spread, why in (
        ({}, "makes trained weights float32"),
        ({"fsdp": "none", "zero_stage": 3}, "DeepSpeed holds"),
    ):
        report = estimate(model, Ask(training=typed.replace(**spread)))
        same = estimate(model, Ask(training=recipe.replace(**spread)))
        assert report.training == same.training
        assert why in report.notes[-1]


def test_images_have_no_longest_context_and_a_batch_that_ends(
    described: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = described("ViT-B/16")
    for words in (("--serving",), ("--training", "--batch_size", "8")):
        found = asked(capsys, folder, *words, "--fits", "24GiB")["fits"]
        assert "longest_context" not in found
    told = asked(capsys, folder, "--training", "--seq_len", "64", "--fits", "24GiB")["notes"]
    assert told == ["Every sequence of this model has 197 tokens, whatever length is asked for."]
    assert found["largest_batch"] < 65536
    assert main([folder, "--serving", "--fits", "24GiB"]) == 0
    out = capsys.readouterr().out
    assert "longest context" not in out
    assert "65,536 or more sequences" in out
