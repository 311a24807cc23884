"""The command: its contract, its JSON, its exit statuses."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from accel_estimate import Recipe, options
from accel_estimate.cli import main
from tests.estimate.conftest import LLAMA


@cache
def validator() -> jsonschema.Draft202012Validator:
    """The schema's, which is checked once: that takes longer than what is held against it."""
    schema = json.loads(resources.files("accel_estimate").joinpath("schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def asked(capsys: pytest.CaptureFixture[str], *argv: str, status: int = 0, **more: Any) -> Any:
    assert main([*argv, "--json"], **more) == status
    report = json.loads(capsys.readouterr().out)
    validator().validate(report)
    return report


def test_the_known_table(llama: Path, run: Callable[..., Any]) -> None:
    done = run(str(llama))
    assert (done.returncode, done.stderr) == (0, "")
    for text in ("dtype", "Largest Layer", "Total Size", "Training using Adam", "float32", "int4", "KiB", "N/A"):
        assert text in done.stdout
    assert "1024.0" not in done.stdout


def test_json_holds_what_was_asked_for_and_no_more(llama: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = asked(capsys, str(llama))
    assert set(plain) == {"model", "parameters", "stored_bytes", "stored", "dtypes"}
    assert list(plain["dtypes"]) == ["float32", "float16", "bfloat16", "float8", "int8", "int4"]
    full = asked(capsys, str(llama), "--training", "--serving", "--context_len", "256", "--fits", "h100",
                 "--seq_len", "512", "--dtypes", "int8", "float16")  # fmt: skip
    assert set(full) == set(plain) | {"training", "serving", "fits"}
    assert list(full["dtypes"]) == ["int8", "float16"]
    assert set(full["training"]["components"]) == {
        "weights", "gradients", "optimizer", "activations", "logits", "communication", "overhead"}  # fmt: skip
    assert sum(full["training"]["components"].values()) == full["training"]["expected_bytes"]
    assert full["training"]["peak_moment"] in full["training"]["moments"]


def test_both_spellings_of_every_flag(llama: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = asked(capsys, str(llama), "--training", "--mixed_precision", "bf16", "--batch_size", "4", "--lora_rank=8")
    two = asked(capsys, str(llama), "--training", "--mixed-precision", "bf16", "--batch-size", "4", "--lora-rank=8")
    assert one == two
    flags = {flag for action in options.parser("x")._actions for flag in action.option_strings}
    assert len(flags) > 60
    for flag in flags - {"-h"}:
        assert flag.replace("_", "-") in flags


def test_types_have_the_spellings_of_launch_configs_too(llama: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--training", "--serving", "--dtypes", "BF16", "fp8", "--param_dtype", "bf16", "--kv_dtype", "fp8")
    short = asked(capsys, str(llama), *words)
    long = {"BF16": "bfloat16", "bf16": "bfloat16", "fp8": "float8"}
    assert short == asked(capsys, str(llama), *(long.get(word, word) for word in words))
    assert list(short["dtypes"]) == ["bfloat16", "float8"]
    assert asked(capsys, str(llama), "--training", "--mixed_precision", "bf16")


def test_every_setting_of_a_recipe_is_a_flag_with_a_sentence() -> None:
    assert set(options.HELP) == set(Recipe._fields)


def test_a_switch_can_be_turned_off(llama: Path, capsys: pytest.CaptureFixture[str]) -> None:
    usual = ("--training", "--tp", "2", "--num_processes", "2", "--seq_len", "512")
    on, off = (asked(capsys, str(llama), *usual, flag) for flag in ("--sequence_parallel", "--no-sequence_parallel"))
    assert on["training"]["expected_bytes"] < off["training"]["expected_bytes"]


def test_a_small_card_has_a_small_context(llama: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for kind in ("--training", "--serving"):
        large, small, named = (
            asked(capsys, str(llama), kind, *words)[kind[2:]]["expected_bytes"]
            for words in (("--fits", "h100"), ("--fits", "t4"), ("--fits", "h100", "--card", "t4"))
        )
        assert large - small == large - named == pytest.approx(0.55 * 2**30)


def test_fits_and_does_not(llama: Path, capsys: pytest.CaptureFixture[str]) -> None:
    yes = asked(capsys, str(llama), "--training", "--fits", "h100")["fits"]
    assert (yes["fits"], yes["of"]) == (True, "training")
    assert yes["limit_bytes"] - yes["needed_bytes"] == yes["margin_bytes"] > 0
    no = asked(capsys, str(llama), "--fits", "1KiB", status=1)["fits"]
    assert (no["fits"], no["of"], no["limit_bytes"]) == (False, "weights in float32", 1024)
    assert main([str(llama), "--fits", "1KiB", "--dtypes", "int4"]) == 1
    assert "lacking" in capsys.readouterr().out


def test_what_is_judged_is_named(llama: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The first type that was typed is that of the server's weights; without one they are as stored."""
    stored = asked(capsys, str(llama), "--serving", "--fits", "h100")
    assert stored["fits"]["of"] == "serving with weights as stored"
    for types in (("int4",), ("float32", "int4")):
        found = asked(capsys, str(llama), "--serving", "--dtypes", *types, "--fits", "h100")
        assert found["fits"]["of"] == f"serving with weights in {types[0]}"
        assert found["serving"]["weights_bytes"] == found["dtypes"][types[0]]["total_bytes"]
    assert asked(capsys, str(llama), "--dtypes", "int8", "int4", "--fits", "h100")["fits"]["of"] == "weights in int8"


@pytest.mark.parametrize("name", ["a100", "A100-80GB", "A100 80GB", "a100_sxm", "RTX 4090", "rtx-4090", "A100 40GB"])
def test_a_device_may_be_called_as_people_do(llama: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    limit = asked(capsys, str(llama), "--fits", name)["fits"]["limit_bytes"] / 2**30
    assert limit == pytest.approx(23.52 if "4090" in name else 39.39 if "40GB" in name else 79.14)


def test_fits_shows_how_far_serving_goes(llama: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = asked(capsys, str(llama), "--serving", "--fits", "2GiB", "--context_len", "256", "--kv_dtype", "float16")
    assert report["serving"]["longest_context"] > 256
    assert report["serving"]["largest_batch"] > 1
    assert report["serving"]["kv_cache_bytes"] == 3 * 2 * 2 * 16 * 256 * 2


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("--fits", "h1000"), "neither an amount such as 24GiB or 80GB nor a known device"),
        (("--zero_stage", "3"), "--zero_stage: add --training"),
        (("--batch_size", "3"), "add --training or --serving"),
        (("--training", "--zero_stage", "3", "--fsdp", "full"), "choose one"),
        (("--training", "--quantize", "nf4"), "add --lora_rank"),
        (("--sweep", "batch_size=1,2"), "add --training or --serving"),
        (("--training", "--sweep", "colour=1"), "'colour' can't be swept"),
        (("--training", "--sweep", "batch_size=1,x"), "whole numbers"),
        (("--training", "--sweep", "context_len=1"), "needs --serving"),
        (("--training", "--sweep", "seq_len=" + ",".join("1" * 65)), "more than the 64"),
        (("--html", "x.html"), "needs --sweep, or --fits"),
        (("--html", "x.html", "--fits", "h100"), "needs --sweep, or --fits"),
        (("--context_len", "1024"), "--context_len: add --serving"),
        (("--training", "--kv_dtype", "float8"), "--kv_dtype: add --serving"),
        (("--training", "--lora_targets", "q_proj"), "--lora_targets: has no effect without --lora_rank"),
        (("--training", "--modules_to_save", "lm_head"), "--modules_to_save: has no effect without --lora_rank"),
        (("--training", "--lora_dropout", "0.1"), "--lora_dropout: has no effect without --lora_rank"),
        (("--training", "--lora_dtype", "bf16"), "--lora_dtype: has no effect without --lora_rank"),
        (("--training", "--micro_batches", "4"), "--micro_batches: has no effect without --pp"),
        (("--training", "--card", "x9"), "--card: must be a known device (t4, "),
        (("--training", "--virtual_stages", "2"), "--virtual_stages: has no effect without --pp"),
        (
            ("--training", "--recompute_method", "block"),
            "--recompute_method: has no effect without --megatron and --gradient_checkpointing full",
        ),
        (("--training", "--overlap_comm"), "--overlap_comm: has no effect without --zero_stage 1, 2 or 3"),
        (("--training", "--zero_stage", "0", "--reduce_bucket_size", "9"), "has no effect without --zero_stage 1"),
        (("--training", "--wrap", "model"), "--wrap: has no effect without --fsdp"),
        (("--training", "--tp", "7", "--num_processes", "7"), "--tp 7: doesn't divide the "),
        (
            (
                "--training",
                "--megatron",
                "whole",
                "--gradient_checkpointing",
                "selective",
                "--recompute_modules",
                "moe",
            ),
            "--recompute_modules moe: the model has no experts",
        ),
        (
            ("--training", "--fsdp", "hybrid", "--fits", "2x4xh100", "--processes_per_machine", "8"),
            "--processes_per_machine 8: --fits 2x4xh100 has 4 a machine",
        ),
        (("--training", "--sync_each_batch"), "--sync_each_batch: has no effect without --fsdp"),
        (
            ("--training", "--framework", "litgpt", "--transformers", "4.4"),
            "--transformers: has no effect without its",
        ),
        (("--training", "--bitsandbytes", "0.42"), "--bitsandbytes: has no effect without --quantize nf4"),
        (("--training", "--gptq_kernel", "triton"), "--gptq_kernel: has no effect without --quantize gptq4"),
        (("--training", "--attention", "flash"), "--attention flash: its kernels compute in 16 bits"),
        (("--training", "--megatron", "whole", "--framework", "litgpt"), "--megatron: trains the whole model"),
        (("--training", "--megatron", "whole", "--optimizer", "lion"), "--megatron: steps by adamw or sgd"),
        (("--training", "--ep", "2", "--num_processes", "2"), "--ep 2: has no effect on a model without experts"),
        (("--serving", "--kv_dtype", "float7"), "'float7' isn't a known type"),
        (("--file", "weights.bin"), "only .safetensors and .gguf"),
    ],
)
def test_a_mistake_is_named_with_status_2(
    llama: Path, capsys: pytest.CaptureFixture[str], argv: tuple[str, ...], message: str
) -> None:
    assert main([str(llama), *argv]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("accel-estimate: ")
    assert message in err
    assert len(err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ((), "required: MODEL"),
        (("x", "--dtypes", "float99"), "float99"),
        (("x", "--seq_lenght", "2048"), "unrecognized arguments: --seq_lenght 2048. Did you mean '--seq_len'?"),
        (("x", "--library_name", "keras"), "keras"),
        (("x", "--lora", "8"), "could match --lora_rank, --lora_targets, --lora_dtype, --lora_dropout"),
    ],
)
def test_usage_is_status_2(argv: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """In two lines: nobody finds a message below the usage of 60 flags."""
    assert main(list(argv)) == 2
    message, way_out = capsys.readouterr().err.splitlines()
    assert said in message
    assert way_out.endswith("--help lists the flags")


def test_an_abbreviation_of_one_flag_is_it_though_it_has_two_spellings(llama: Path) -> None:
    assert main([str(llama), "--training", "--zero", "3", "--num_pro=8"]) == 0


def test_help_is_status_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "--gradient-checkpointing" in capsys.readouterr().out


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    import accel_estimate

    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"accel-estimate {accel_estimate.__version__}\n"
    assert accel_estimate.__version__ == metadata.version("accel-estimate")
    with pytest.raises(AttributeError, match="no attribute 'versions'"):
        _ = accel_estimate.versions


def test_a_launch_config_gives_the_defaults(llama: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def config(path: str) -> Recipe:
        assert path == "c.yaml"
        return Recipe(mixed_precision="bf16", fsdp="full", num_processes=4)

    from_config = asked(capsys, str(llama), "--config-file", "c.yaml", launch_config=config)
    same = asked(capsys, str(llama), "--training", "--mixed_precision=bf16", "--fsdp=full", "--num_processes=4")
    assert from_config == same
    over = asked(capsys, str(llama), "--config_file=c.yaml", "--num_processes=8", launch_config=config)
    assert over["training"]["components"]["weights"] == pytest.approx(
        same["training"]["components"]["weights"] / 2, abs=1
    )
    few = [str(llama), "--config_file", "c.yaml", "--fits", "2xh100"]
    assert main(few, launch_config=config) == 2
    assert "c.yaml: num_processes 4: more than the 2 devices of --fits 2xh100" in capsys.readouterr().err
    assert main([*few, "--num_processes", "8"], launch_config=config) == 2
    assert ": --num_processes 8: more than" in capsys.readouterr().err
    assert main([str(llama), "--config_file", "c.yaml"]) == 2  # who can't read one has no such flag
    assert main([str(llama), "--config_file"], launch_config=config) == 2


def test_adapters_on_a_packed_checkpoint_leave_it_packed(
    llama: Path, write: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    from accel_estimate.model import families, parameters

    how = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    blueprint = families.read(LLAMA)
    assert blueprint is not None
    tensors: dict[str, Any] = {}
    for name, _, shape, size, _ in parameters.tensors(blueprint):
        packs = "proj" in name
        tensors[name] = ("U8", (size // 8, 1)) if packs else ("F32", shape)  # four bits of each number
        if packs:
            tensors |= {f"{name}.absmax": ("F32", (size // 256,)), f"{name}.quant_map": ("F32", (16,))}
    packed = write("packed", tensors, {**LLAMA, "quantization_config": how})
    lora = ("--training", "--lora_rank", "4")
    read = asked(capsys, str(packed), *lora)
    report = asked(capsys, str(llama), *lora, "--quantize", "nf4")
    assert read["parameters"] == report["parameters"]
    assert read["training"] == report["training"]
    assert "--quantize nf4" in read["notes"][0]
    assert "unpacked first" in asked(capsys, str(packed), "--training")["notes"][0]


def test_training_and_serving_need_a_known_family(llama: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (llama / "config.json").unlink()
    assert main([str(llama), "--training"]) == 2
    assert "no config.json that names its family" in capsys.readouterr().err
    (llama / "config.json").write_text(json.dumps({**LLAMA, "model_type": "brand_new"}))
    report = asked(capsys, str(llama), "--training")
    assert "read as a plain decoder" in report["notes"][0]


def test_a_longer_context_than_the_model_was_made_for_is_noted(
    llama: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "made for 512 tokens" in asked(capsys, str(llama), "--serving", "--context_len", "1000")["notes"][0]


def test_savings_are_ranked_and_true(llama: Path, capsys: pytest.CaptureFixture[str]) -> None:
    usual = ("--training", "--batch_size", "8", "--seq_len", "2048")
    report = asked(capsys, str(llama), *usual)["training"]
    saved = [change["bytes"] for change in report["savings"]]
    assert saved == sorted(saved, reverse=True)
    assert saved
    best = report["savings"][0]
    after = asked(capsys, str(llama), *usual, *best["flags"].split())["training"]["expected_bytes"]
    assert report["expected_bytes"] - after == pytest.approx(best["bytes"], abs=2)


def test_the_report_for_people(llama: Path, run: Callable[..., Any]) -> None:
    done = run(str(llama), "--training", "--serving", "--fits", "24GiB", "--batch_size", "8")
    for text in ("Training, on each device", "activations", "Peak:", "largest batch",
                 "Serving, on each device", "cache of keys and values", "longest context that fits", "to spare"):  # fmt: skip
        assert text in done.stdout
    alone = run(str(llama), "--training", "--batch_size", "800").stdout
    assert "What would lower it most:" in alone
    assert "GiB  (--" in alone


def test_a_sweep_is_a_table_and_a_status(llama: Path, run: Callable[..., Any]) -> None:
    done = run(str(llama), "--training", "--sweep", "batch_size=1,64,512", "--fits", "3GiB")
    assert done.returncode == 1
    assert [line.split("│")[-2].strip() for line in done.stdout.splitlines() if "GiB │" in line] == [
        "yes",
        "no",
        "no",
    ]
    assert run(str(llama), "--training", "--sweep", "batch-size=1,2", "--fits", "24GiB").returncode == 0


def test_what_a_sweep_sets_counts_as_made(llama: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = (str(llama), "--training", "--lora_dropout", "0.1", "--sweep", "lora-rank=0,8")
    assert len(asked(capsys, *words)["points"]) == 2


def test_a_machine_has_as_many_devices_as_were_typed(llama: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = (str(llama), "--training", "--fsdp", "hybrid", "--fits", "64xh100")
    each, four = (
        asked(capsys, *words, *more)["training"]["components"]["weights"]
        for more in ((), ("--processes_per_machine", "4"))
    )
    assert four == pytest.approx(16 * each, rel=0.01)


def test_a_narrow_pipe_cuts_nothing(llama: Path, run: Callable[..., Any]) -> None:
    words = (str(llama), "--training", "--sweep", "batch_size=1,64", "--fits", "80GiB")
    assert run(*words, COLUMNS="40").stdout == run(*words).stdout
    assert "…" not in run(*words, COLUMNS="40").stdout


@pytest.mark.parametrize("path", [".", "/dev/full"])
def test_a_page_that_can_not_be_written_is_status_1(
    llama: Path, capsys: pytest.CaptureFixture[str], path: str
) -> None:
    assert main([str(llama), "--training", "--fits", "24GiB", "--html", path]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert f"accel-estimate: {path} " in err


def test_a_config_json_without_a_key_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    assert main([str(tmp_path)]) == 1
    assert f"{tmp_path}: config.json: hidden_size is missing" in capsys.readouterr().err


def test_a_sweep_as_json(llama: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = asked(capsys, str(llama), "--training", "--sweep", "seq_len=128,256")
    assert (report["sweep"], [point["value"] for point in report["points"]]) == ("seq_len", [128, 256])
    alone = asked(capsys, str(llama), "--training", "--seq_len", "256")
    assert report["points"][1]["training"]["expected_bytes"] == alone["training"]["expected_bytes"]
    served = asked(capsys, str(llama), "--serving", "--sweep", "context_len=128,256")
    assert served["points"][1]["serving"]["kv_cache_bytes"] == 2 * served["points"][0]["serving"]["kv_cache_bytes"]


@pytest.mark.parametrize("words", [(), ("--training", "--sweep", "batch_size=" + ",".join("1" * 64), "--json")])
def test_a_reader_that_goes_away_gets_no_traceback(llama: Path, words: tuple[str, ...]) -> None:
    """Neither of little, which is written as the command ends, nor of much."""
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "accel_estimate", str(llama), *words]
    buffered = {name: text for name, text in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(
        command, env=buffered, stdout=write, stderr=subprocess.PIPE, text=True, check=False, timeout=60
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no file that is always full")
def test_a_full_disk_is_a_sentence(llama: Path) -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "accel_estimate", str(llama)]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (
        1,
        "accel-estimate: the output can't be written: No space left on device\n",
    )


@pytest.mark.parametrize(
    "flags",
    [
        *(f"--training --{name} 9" for name in ("batch_size", "seq_len", "num_processes", "lora_rank", "pp", "ep")),
        "--training --gradient_accumulation 9",
        "--training --zero_stage 2 --reduce_bucket_size 9",
        "--training --pp 2 --num_processes 2 --micro_batches 9",
        "--training --zero_stage 9",
        "--serving --context_len 9",
        "--serving --batch_size 9",
        "--serving --tp 9",
        "--training --sweep batch_size=9",
        "--fits 9GiB",
    ],
)
@pytest.mark.parametrize("digits", [17, 400, 5000])
def test_numbers_beyond_reason_are_refused(
    llama: Path, capsys: pytest.CaptureFixture[str], flags: str, digits: int
) -> None:
    words = flags.replace("9", "9" * digits).split()
    if words[:1] == ["--fits"] and digits < 18:
        return
    try:
        status = main([str(llama), *words])
    except SystemExit as ended:  # argparse's own word
        status = ended.code
    assert status == 2
    assert "--" in capsys.readouterr().err


@pytest.mark.parametrize("length", ["²", "9" * 5000, "1_0", "٣", "-1", ""])
def test_headers_that_are_no_numbers_are_none(length: str) -> None:
    from accel_estimate.sources.hub import client

    assert client._whole_size({"Content-Range": f"bytes 0-1/{length}", "Content-Length": length}, 7) == 7
    assert client._retry_after({"Retry-After": length}) == 0.0


def test_a_mixture_of_no_experts_has_an_estimate(tmp_path: Path) -> None:
    config = {
        "model_type": "mixtral", "architectures": ["MixtralForCausalLM"], "hidden_size": 64, "intermediate_size": 128,
        "num_attention_heads": 4, "num_key_value_heads": 4, "num_hidden_layers": 2, "vocab_size": 100,
        "max_position_embeddings": 64, "num_local_experts": 0, "num_experts_per_tok": 2,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert main([str(tmp_path), "--training"]) == 0
