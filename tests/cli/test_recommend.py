"""`config recommend`: which strategies fit a model, in which order, and the files that it writes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from accel_cli import gate
from accel_cli.commands import config
from accel_cli.gate import described
from accel_cli.recipe import read
from accel_cli.recommending import showing, writing
from accel_cli.recommending.choosing import Answer, Question, choose
from accel_cli.recommending.cost import ADAM, HOST_MEMORY, MOVES, Work, cost, work
from accel_cli.recommending.speeds import SPEEDS, Speed
from accel_config import CATALOGUE, AccelError
from accel_config.asking import wizard
from accel_config.asking.asker import Proposals
from accel_config.catalogue import Fsdp
from accel_config.checking.file import FileReport, check
from accel_config.settings.machine import MachineFacts
from accel_estimate import Ask, Recipe, estimate, load
from accel_estimate.devices import cards
from accel_estimate.devices.units import spell
from accel_estimate.model import families
from accel_launch import plan
from accel_launch.machine.devices import Device
from accel_launch.machine.host import Host
from accel_launch.planning.layout import Layout
from tests.calling import call
from tests.conftest import Resolve
from tests.launch.hosts import host
from tests.schedule import sampled

LLAMA: dict[str, Any] = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 4096, "intermediate_size": 14336,
    "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256,
    "max_position_embeddings": 8192, "torch_dtype": "bfloat16", "tie_word_embeddings": False,
}  # fmt: skip
LARGE = {**LLAMA, "hidden_size": 8192, "intermediate_size": 28672, "num_hidden_layers": 80, "num_attention_heads": 64}
PLAIN = Speed(products=1000, memory=100, links=10, host=1, reached=0.5)


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    folder = tmp_path / "llama"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(LLAMA))
    return folder


def answer(model: Path, devices: str, **asked: Any) -> Answer:
    return choose(load(str(model)), Question(devices, **asked))


def test_products_are_those_of_the_passes() -> None:
    todo, one = Work(parameters=10, active=8, trained=10, attention=5), Recipe(batch_size=2, seq_len=25)
    found = cost(todo, one, PLAIN)
    assert found.compute == pytest.approx(50 * 3 * (2 * 8 + 5) / 500)
    assert (found.recompute, found.waiting) == (0, 0)
    assert found.optimizer == pytest.approx(ADAM * 10 / (100 * MOVES))
    repeated = cost(todo, one.replace(gradient_checkpointing="full"), PLAIN)
    assert repeated.recompute == pytest.approx(found.compute / 3)
    adapters = cost(todo.replace(trained=0), one.replace(lora_rank=1), PLAIN)
    assert adapters.compute == pytest.approx(50 * (2 * 2 * 8 + 3 * 5) / 500), "no gradients of frozen weights"
    assert cost(todo, one.replace(gradient_accumulation=3), PLAIN).compute == pytest.approx(3 * found.compute)


def test_waiting_is_what_links_take_beyond_the_products() -> None:
    todo = Work(parameters=700, active=0.001, trained=700, attention=0)
    pair = Recipe(batch_size=1, seq_len=1, num_processes=2, processes_per_machine=2, mixed_precision="bf16")
    ring = 700 / 2 / (10 * MOVES)  # each device sends half of the bytes
    ddp, zero2, zero3, fsdp = (
        cost(todo, pair.replace(**fields), PLAIN).waiting
        for fields in ({}, {"zero_stage": 2}, {"zero_stage": 3}, {"fsdp": "full"})
    )
    assert ddp == pytest.approx(2 * 4 * ring, rel=1e-3)
    assert zero2 == pytest.approx(2 * 2 * ring, rel=1e-3)
    assert zero3 == fsdp == pytest.approx(3 * 2 * ring, rel=1e-3)
    three = cost(todo, pair.replace(gradient_accumulation=3, fsdp="full"), PLAIN).waiting
    assert three == pytest.approx((3 * 2 * 2 + 2) * ring, rel=1e-3), "gradients are reduced once in a step"
    busy = todo.replace(active=10**6)
    assert cost(busy, pair, PLAIN).waiting == 0
    assert cost(busy, pair.replace(zero_stage=2), PLAIN).waiting == zero2, "it doesn't run beside the products"


def test_the_simplest_strategy_comes_first_where_a_step_is_short(tmp_path: Path) -> None:
    small = {**LLAMA, "hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 12, "vocab_size": 1000}
    (tmp_path / "config.json").write_text(json.dumps(small))
    assert answer(tmp_path, "8xh100", seq_len=64).fitting[0].name == "ddp"


def test_machines_share_a_network_and_offloading_waits_for_the_cpu() -> None:
    todo = Work(parameters=700, active=0.001, trained=700, attention=0)
    four = Recipe(batch_size=1, seq_len=1, num_processes=4, processes_per_machine=2, mixed_precision="bf16")
    slow = 4e-8  # Gbit: 5 bytes in a second, half of the links within a machine
    full = cost(todo, four.replace(fsdp="full"), PLAIN, slow).waiting
    assert full == pytest.approx(3 * 2 * 700 * 3 / 4 / (5 * MOVES), rel=1e-3)
    hybrid = cost(todo, four.replace(fsdp="hybrid"), PLAIN, slow).waiting
    within, between = 3 * 2 * 700 / 2 / (10 * MOVES), 2 * 2 * 700 / 2 / (5 * MOVES)
    assert hybrid == pytest.approx(within + between, rel=1e-3)
    offloaded = cost(
        todo, four.replace(zero_stage=3, offload_param_device="cpu", offload_optimizer_device="cpu"), PLAIN
    )
    assert offloaded.optimizer == pytest.approx(ADAM * 700 / 2 / HOST_MEMORY)
    both = cost(todo, four.replace(fsdp="full", offload_param_device="cpu"), PLAIN)
    assert both.optimizer == pytest.approx(6 * offloaded.optimizer)
    assert both.waiting > offloaded.waiting > cost(todo, four.replace(zero_stage=3), PLAIN).waiting


@pytest.mark.parametrize(
    ("shape", "parameters", "device", "fields", "published"),
    [
        (LLAMA, 8.03e9, "h100", {"num_processes": 8, "batch_size": 2}, 5762),
        (LLAMA, 8.03e9, "a100", {"num_processes": 64}, 2973),
        (LARGE, 70.55e9, "a100", {"num_processes": 64, "gradient_checkpointing": "full"}, 331),
    ],
)
def test_published_runs_are_near(
    shape: dict[str, Any], parameters: float, device: str, fields: dict[str, Any], published: float
) -> None:
    """The tokens a second that torchtitan publishes; docs/recommend.md has their sources."""
    blueprint = families.read(shape)
    assert blueprint is not None
    run = Recipe(mixed_precision="bf16", fsdp="full", seq_len=8192).replace(**fields)
    found = cost(work(blueprint, parameters, parameters, 8192), run, SPEEDS[device], 8 * 400)
    assert run.batch_size * 8192 / found.seconds == pytest.approx(published, rel=0.25)


def test_every_card_has_a_speed_but_tpus() -> None:
    assert {card.name for card in cards.CARDS if not card.name.startswith("tpu")} == set(SPEEDS)
    assert all(one.host <= one.memory and one.links <= one.memory for one in SPEEDS.values())


def test_the_experts_that_a_token_misses_cost_nothing() -> None:
    mixtral = {"model_type": "mixtral", **{name: LLAMA[name] for name in list(LLAMA)[2:]}, "num_local_experts": 8}
    blueprint = families.read({**mixtral, "num_experts_per_tok": 2})
    assert blueprint is not None
    all_of_them = 46.7e9
    assert work(blueprint, all_of_them, all_of_them, 10).active == pytest.approx(12.4e9, rel=0.03)


def test_fitting_ones_come_first_and_the_fastest_of_them(llama: Path) -> None:
    found = answer(llama, "8xh100")
    assert [one.name for one in found.fitting] == ["fsdp2", "zero3", "zero2", "zero3-offload", "fsdp2-offload"]
    assert [one.name for one in found.others] == ["ddp"]
    assert all(one.strategy.fits for one in found.fitting)
    assert found.best is found.fitting[0]
    two = answer(llama, "2x8xa100", seq_len=4096)
    assert two.fitting[0].name == "hsdp", "a slow network is used least"
    fast = answer(llama, "2x8xa100", seq_len=4096, network=8 * 400.0)
    assert fast.fitting[0].cost.seconds < two.fitting[0].cost.seconds


def test_the_best_one_surely_fits_where_one_does(llama: Path) -> None:
    found = answer(llama, "4x24GiB", method="lora")
    assert not found.fitting[0].certain
    assert found.best is not None
    assert found.best.certain
    assert found.best.strategy.recipe.gradient_checkpointing == "full", "recomputed where it is needed"
    assert found.notes == ("How fast 24GiB is isn't known: rtx3090 is assumed.",)
    assert answer(llama, "4x24GiB", method="lora", checkpointing="none").fitting != found.fitting


def test_methods_have_their_strategies_and_formats(llama: Path) -> None:
    packed = answer(llama, "2xv100", method="qlora")
    assert {one.name for one in (*packed.fitting, *packed.others)} == {
        "ddp", "zero2", "zero3", "qlora-fsdp", "qlora-fsdp-offload"
    }  # fmt: skip
    assert {one.strategy.recipe.mixed_precision for one in packed.fitting} == {"fp16"}, "a V100 has no bf16"
    assert {one.strategy.recipe.quantize for one in packed.fitting} == {"nf4"}
    whole = answer(llama, "2xh100")
    assert "qlora-fsdp" not in {one.name for one in (*whole.fitting, *whole.others)}


@pytest.mark.parametrize("method", ["full", "lora", "qlora"])
@pytest.mark.parametrize("devices", ["8xh200", "2x8xh200", "h200"])
def test_each_file_is_valid_and_plans_without_notes(
    settings: Resolve, llama: Path, tmp_path: Path, devices: str, method: str
) -> None:
    found = answer(llama, devices, method=method, gradient_accumulation=2)
    (tmp_path / "train.py").touch()
    assert found.fitting
    for one in found.fitting:
        path = tmp_path / f"{one.name}.yaml"
        path.write_text(writing.text(found, one, ""))
        assert check(CATALOGUE, str(path)) == FileReport(())
        fields = ["mixed_precision", "zero_stage", "fsdp", "num_processes"]
        fields += ["processes_per_machine"] if found.devices.count > 1 else []
        fields += ["offload_param_device", "offload_optimizer_device"]
        if one.strategy.recipe.fsdp != "none":
            fields.append("gradient_checkpointing")
        held, wanted = described(read(str(path))), one.strategy.recipe
        assert {name: getattr(held, name) for name in fields} == {name: getattr(wanted, name) for name in fields}
        meeting = ("--main_process_ip", "10.0.0.7", "--machine_rank", "0") if devices.startswith("2x") else ()
        made = plan(
            settings(*meeting, file=path.read_text()),
            host(8 if "x" in devices else 1).replace(cwd=str(tmp_path)),
            ["train.py"],
        )
        assert made.notes == ()
        (tmp_path / "script.py").write_text("\n".join(writing.script(found, one)))
        compile((tmp_path / "script.py").read_text(), "script.py", "exec")


@pytest.mark.parametrize(
    ("devices", "method", "more"),
    [
        ("24G", "full", {}),
        ("2x8xh100", "full", {"gradient_accumulation": 4}),
        ("4x16GiB", "lora", {"batch_size": 2, "seq_len": 512}),
        ("2xv100", "qlora", {}),
        ("2x12GiB", "qlora", {}),
    ],
)
@pytest.mark.parametrize("layers", sampled([2, 32], every=2))
def test_the_check_of_the_file_agrees_with_it(
    llama: Path, tmp_path: Path, layers: int, devices: str, method: str, more: dict[str, Any]
) -> None:
    folder = tmp_path / "a model"
    llama.rename(folder)
    (folder / "config.json").write_text(json.dumps({**LLAMA, "num_hidden_layers": layers}))
    found = answer(folder, devices, method=method, **more)
    assert found.fitting
    for number, one in enumerate(found.fitting):
        path = tmp_path / f"{number}.yaml"
        path.write_text(writing.text(found, one, str(path)))
        assert check(CATALOGUE, str(path)).problems == ()
        settings = read(str(path))
        training = estimate(load(str(folder)), Ask(training=described(settings))).training
        wanted = one.strategy
        assert training is not None
        assert (training.low, training.expected, training.high) == (wanted.low, wanted.expected, wanted.high)
        count = found.devices.count
        devices_here = tuple(
            Device("GPU", str(place), model="NVIDIA " + found.devices.name) for place in range(count)
        )
        layout = Layout("NO", count, found.devices.per_machine, 1, 0, False, devices_here, None)
        assert gate.check(settings, layout) == ("", [])
    assert "\nmodel:" not in writing.text(found, found.fitting[0], "")


def large(llama: Path) -> Path:
    (llama / "config.json").write_text(json.dumps(LARGE))
    return llama


def test_packed_weights_of_the_largest_models_go_to_the_cpu(llama: Path, tmp_path: Path) -> None:
    found = answer(large(llama), "2xrtx3090", method="qlora")
    assert [one.name for one in found.fitting] == ["qlora-fsdp-offload"]
    text = writing.text(found, found.fitting[0], str(tmp_path / "c.yaml"))
    assert "fsdp_offload_params: true" in text
    assert "fsdp_auto_wrap_policy(model)" in text
    table = showing.table(answer(llama, "2x3GiB", method="qlora"))
    assert "None of them fits: use more or larger devices, a smaller batch or length\n" in table
    assert "or --method qlora\n" in showing.table(answer(llama, "2x3GiB", method="lora"))


def test_what_offloading_takes_of_the_machine_is_told(llama: Path, tmp_path: Path) -> None:
    found = answer(large(llama), "rtx3090")
    best = found.fitting[0].strategy
    amount = spell(best.host)
    assert amount.endswith("TiB")
    assert f"Of each machine's own memory they take about: {best.name} {amount}" in showing.table(found)
    assert showing.as_json(found)["strategies"][0]["machine_memory"] == round(best.host)
    head = writing.text(found, found.fitting[0], str(tmp_path / "c.yaml")).partition("\n#\n")[0]
    assert f"and each machine about {amount} of its own memory" in head


def test_nothing_is_recomputed_where_it_fits_without(llama: Path) -> None:
    for one in answer(llama, "2x8xh100").fitting:
        kept = next(it for it in answer(llama, "2x8xh100", checkpointing="none").fitting if it.name == one.name)
        assert (one.cost.recompute == 0) == kept.certain


@pytest.mark.parametrize(
    ("shape", "line", "task"),
    [
        ({"architectures": ["LlamaForCausalLM"]}, "AutoModelForCausalLM", ', task_type="CAUSAL_LM"'),
        ({"architectures": ["T5ForConditionalGeneration"]}, "T5ForConditionalGeneration", ""),
        (
            {"architectures": ["BertForSequenceClassification"]},
            "BertForSequenceClassification",
            ', task_type="SEQ_CLS"',
        ),
        ({"architectures": ["x(); y"]}, "YourModel", ""),
        ({"architectures": None}, "YourModel", ""),
    ],
)
def test_the_script_has_the_models_own_class(llama: Path, shape: dict[str, Any], line: str, task: str) -> None:
    (llama / "config.json").write_text(json.dumps({**LLAMA, **shape}))
    found = answer(llama, "h100", method="lora")
    lines = writing.script(found, found.fitting[0])
    assert lines[1].startswith(f"model = {line}.from_pretrained(")
    assert f'LoraConfig(r=16, target_modules="all-linear"{task}))' in "".join(lines)


def test_the_length_is_one_that_the_model_can(llama: Path) -> None:
    (llama / "config.json").write_text(json.dumps({**LLAMA, "max_position_embeddings": 512}))
    assert answer(llama, "8xh100").question.seq_len == 512
    assert answer(llama, "8xh100").notes == ()
    longer = answer(llama, "8xh100", seq_len=1024)
    assert longer.notes == ("The model was made for 512 tokens, less than the 1,024 asked for.",)
    assert "made for 512 tokens" in showing.table(longer)


def test_what_makes_offloading_unnecessary_is_told(llama: Path) -> None:
    found = answer(llama, "4xrtx3090")
    assert all(one.strategy.host for one in found.fitting)
    assert found.instead.startswith("fsdp2 (")
    assert f"Without offloading, {found.instead}\n" in showing.table(found)
    assert answer(llama, "8xh100").instead == answer(large(llama), "rtx3090").instead == ""


def test_write_never_overwrites_without_being_told(llama: Path, tmp_path: Path) -> None:
    words = ["config", "recommend", str(llama), "--devices", "8xh100", "--config_file", "c.yaml", "--write"]
    done = call(words, tmp_path)
    assert (done.status, done.err) == (0, b"")
    before = (tmp_path / "c.yaml").read_text()
    assert before.startswith(f"# {llama} on 8xh100, full, batch 1 x 2048 tokens on each device:\n")
    assert "#     model = AutoModelForCausalLM.from_pretrained(" in before
    again = call([*words, "--strategy", "zero3"], tmp_path)
    assert (again.status, b"--overwrite replaces it" in again.err) == (1, True)
    assert (tmp_path / "c.yaml").read_text() == before
    assert call([*words, "--strategy", "zero3", "--overwrite"], tmp_path).status == 0
    assert "zero_stage: 3" in (tmp_path / "c.yaml").read_text()
    absent = call([*words, "--strategy", "ddp"], tmp_path)
    assert (absent.status, b"no strategy of that name fits; those that fit: fsdp2, zero3" in absent.err) == (2, True)
    plain = call([*words[:-2], "c.json", "--write"], tmp_path)
    assert (plain.status, b"add to the training script: accelerator = Accelerator()" in plain.err) == (0, True)
    assert json.loads((tmp_path / "c.json").read_text())["num_processes"] == 8


def test_the_table_and_json_have_the_same(llama: Path, tmp_path: Path) -> None:
    words = ["config", "recommend", str(llama), "--devices", "8xh100"]
    table = call(words, tmp_path).out.decode()
    told = json.loads(call([*words, "--json"], tmp_path).out)
    fitting = [one["name"] for one in told["strategies"] if one["fits"]]
    rows = [line.split()[0] for line in table.splitlines() if line.startswith(tuple(f"{name} " for name in fitting))]
    assert rows == fitting
    for one in told["strategies"]:
        assert one["seconds"] == pytest.approx(sum(one["parts"].values()))
        assert one["memory"]["low"] <= one["memory"]["expected"] <= one["memory"]["high"]
    assert "Above the 79.1 GiB of a device: ddp" in table
    barely = next(one for one in told["strategies"] if one["name"] == "ddp")["memory"]["expected"]
    words[-1] = f"8x{1.03 * barely / 2**20:.0f}MiB"
    assert " GiB of a device: ddp (" in (close := call(words, tmp_path).out.decode())
    assert "Barely fit the " in close
    assert "Above the " not in close
    assert call([*words, "--strategy", "ddp", "--write", "--config_file", "close.yaml"], tmp_path).status == 0
    nothing = call([*words[:-1], "1GiB"], tmp_path)
    assert (nothing.status, b"None of them fits" in nothing.out) == (1, True)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("--devices 8xnothing", "--devices 8xnothing: neither an amount"),
        ("--devices 8xtpu-v4", "torch_xla spreads a model over TPUs in its own way"),
        ("", "this machine has no accelerator; give --devices, such as 8xh100"),
        ("--devices h100 --batch_size 0", "--batch_size: must be at least 1"),
        ("--devices h100 --network 0", "--network: must be above 0"),
        ("--devices h100 --overwrite", "--overwrite: has no effect without --write"),
        ("--devices h100 --config_file c.yaml", "--config_file: has no effect without --write"),
        ("--devices h100 --seq_len 0", "--seq_len: must be at least 1"),
    ],
)
def test_what_cannot_be_asked_is_told(llama: Path, tmp_path: Path, words: str, why: str) -> None:
    if not words and Host.here().devices:
        pytest.skip("this machine has accelerators")
    done = call(["config", "recommend", str(llama), *words.split()], tmp_path)
    assert (done.status, why in done.err.decode()) == (2, True), done.text


def test_this_machines_devices_are_the_default(
    llama: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    devices = tuple(Device("GPU", str(place), model="NVIDIA H100 80GB HBM3") for place in range(4))
    monkeypatch.setattr(Host, "here", classmethod(lambda _cls: host(devices)))
    assert config.main(["recommend", str(llama), "--json"], "accelerate config") == 0
    told = json.loads(capsys.readouterr().out)["devices"]
    assert (told["count"], told["text"]) == (4, "4xNVIDIA H100 80GB HBM3")
    monkeypatch.setattr(Host, "here", classmethod(lambda _cls: host(4)))
    assert config.main(["recommend", str(llama)], "accelerate config") == 2
    assert "4 accelerators of an unknown model" in capsys.readouterr().err


class Person(Proposals):
    """Takes every proposal, but wants settings for a model."""

    def __init__(self, model: str, method: int = 0) -> None:
        self.model, self.method = model, method
        self.told: list[str] = []

    def greet(self) -> None:
        pass

    def confirm(self, question: str, default: bool) -> bool:
        return "fit a model" in question or default

    def choose(self, question: str, options: Sequence[str], default: int) -> int:
        return (
            self.method
            if question.startswith("What do you want to train")
            else super().choose(question, options, default)
        )

    def text(self, question: str, default: str, check: Callable[[str], str], *, hidden: bool) -> str:
        assert not (question.startswith("Which model") and check(self.model))
        return (
            self.model
            if question.startswith("Which model")
            else super().text(question, default, check, hidden=hidden)
        )

    def report(self, text: str) -> None:
        self.told.append(text)

    def advise(self, text: str) -> None:
        self.told.append(text)


@pytest.fixture
def eight(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of eight GPUs, and a terminal."""
    devices = tuple(Device("GPU", str(place), model="NVIDIA H100 80GB HBM3") for place in range(8))
    monkeypatch.setattr(Host, "here", classmethod(lambda _cls: host(devices)))
    monkeypatch.setattr(wizard, "this_machine", lambda: MachineFacts("GPU", 8, 64, bf16=True))
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: True))


def asked(person: Person, path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    def asker(_program: str) -> Person:
        return person

    monkeypatch.setattr(wizard, "_asker", asker)
    assert wizard.wizard(str(path), "accelerate config", yes=False, overwrite=False) == 0
    return path.read_text()


@pytest.mark.usefixtures("eight")
def test_the_wizard_asks_for_a_model(
    settings: Resolve, llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = Person(str(llama))
    made = settings(file=asked(person, tmp_path / "new.yaml", monkeypatch))
    assert made.value("distributed_type").value == "FSDP"
    assert (made[Fsdp].fsdp_version, made.value("num_processes").value) == (2, 8)
    assert made.value("mixed_precision").value == "bf16"
    assert any("The wizard proposes fsdp2." in text and "from_pretrained" in text for text in person.told)
    packed = settings(file=asked(Person(str(llama), 2), tmp_path / "packed.yaml", monkeypatch))
    assert packed.value("distributed_type").value == "MULTI_GPU"


@pytest.mark.usefixtures("eight")
def test_the_wizard_goes_on_without_a_model_that_it_cannot_read(
    settings: Resolve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    person = Person(str(tmp_path / "empty"))
    made = settings(file=asked(person, tmp_path / "new.yaml", monkeypatch))
    assert made.value("distributed_type").value == "MULTI_GPU"
    assert any(text.endswith("The wizard goes on without the model.") for text in person.told)


def test_only_recommend_imports_the_estimator_and_nothing_imports_torch(llama: Path, tmp_path: Path) -> None:
    code = (
        "import sys\nfrom accel_cli.main import main\nstatus = main(sys.argv[1:])\n"
        "heavy = ('accel_estimate', 'torch', 'transformers', 'huggingface_hub')\n"
        "print('imported', *(name for name in heavy if name in sys.modules))"
    )
    for words, imported in (
        (["config", "path"], "imported"),
        (["config", "recommend", str(llama), "--devices", "h100"], "imported accel_estimate"),
    ):
        done = subprocess.run([sys.executable, "-c", code, *words], cwd=tmp_path, capture_output=True, text=True)
        assert done.stdout.splitlines()[-1] == imported, done.stderr


def test_devices_that_are_not_known_are_refused_from_python(llama: Path) -> None:
    with pytest.raises(AccelError, match="--devices"):
        answer(llama, "8xnothing")
