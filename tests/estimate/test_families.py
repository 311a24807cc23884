"""Every family's config.json, compared with the parameter count of transformers' own model on the meta device.

families.json holds configs as published and the counts that transformers 5.23 gave for them; with transformers
installed (`uv run --group hf`), smaller models of every family are counted afresh, tensor by tensor.
"""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from accel_estimate.errors import CorruptFileError
from accel_estimate.model import families, parameters
from tests.estimate.conftest import LLAMA

KNOWN: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "families.json").read_text())


@pytest.mark.parametrize("name", KNOWN)
def test_parameters_are_those_of_transformers(name: str) -> None:
    blueprint = families.read(KNOWN[name]["config"])
    assert blueprint is not None
    assert not blueprint.guessed
    assert sum(tensor.elements for tensor in parameters.tensors(blueprint)) == KNOWN[name]["parameters"]


def test_the_reference_covers_every_kind_of_layer() -> None:
    layers = [
        layer
        for known in KNOWN.values()
        for layer in (families.read(known["config"]) or pytest.fail(str(known))).layers()
    ]
    for part in ("attention", "cross", "mlp", "experts", "space"):
        assert any(getattr(layer, part) for layer in layers)
    assert any(layer.attention and layer.attention.kv_rank for layer in layers)


CLASSES = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM",
           "gemma": "GemmaForCausalLM", "gemma2": "Gemma2ForCausalLM", "mixtral": "MixtralForCausalLM",
           "qwen2_moe": "Qwen2MoeForCausalLM", "gpt2": "GPT2LMHeadModel", "gpt_neox": "GPTNeoXForCausalLM",
           "phi": "PhiForCausalLM", "falcon": "FalconForCausalLM", "bloom": "BloomForCausalLM",
           "opt": "OPTForCausalLM", "bert": "BertModel", "roberta": "RobertaForMaskedLM",
           "t5": "T5ForConditionalGeneration", "phi3": "Phi3ForCausalLM"}  # fmt: skip


@pytest.mark.parametrize("family", CLASSES)
@pytest.mark.filterwarnings("ignore")
def test_a_fresh_count_by_transformers(family: str) -> None:
    transformers: Any = pytest.importorskip(
        "transformers", reason="transformers is not installed: sync the group `hf`"
    )
    torch: Any = pytest.importorskip("torch", reason="torch is not installed: sync the group `torch`")
    config = transformers.AutoConfig.for_model(family)
    config.architectures = [CLASSES[family]]
    with torch.device("meta"):
        model = getattr(transformers, CLASSES[family])(config)
    counted = sum(parameter.numel() for parameter in model.parameters())
    blueprint = families.read(config.to_dict())
    assert blueprint is not None
    assert sum(tensor.elements for tensor in parameters.tensors(blueprint)) == counted


def test_names_are_those_of_llama() -> None:
    blueprint = families.read(LLAMA)
    assert blueprint is not None
    names = {tensor.name: tensor.shape for tensor in parameters.tensors(blueprint)}
    assert names["model.layers.2.self_attn.k_proj.weight"] == (32, 64)
    assert names["model.layers.0.mlp.down_proj.weight"] == (64, 128)
    assert names["lm_head.weight"] == (256, 64)


def test_head_dim_may_be_null() -> None:
    assert families.read({**LLAMA, "head_dim": None}) == families.read(LLAMA)


def test_a_model_of_several_parts_is_read_by_its_text() -> None:
    blueprint = families.read({"model_type": "llava", "text_config": LLAMA})
    assert blueprint == families.read(LLAMA)


def test_a_nested_config_says_only_what_is_unusual() -> None:
    """As gemma-3-4b-it and llava-1.5-7b have it."""
    gemma = {"model_type": "gemma3_text", "hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 34, "sliding_window": 1024}  # fmt: skip
    blueprint = families.read({"model_type": "gemma3", "text_config": gemma, "vision_config": {"hidden_size": 1152}})
    assert blueprint is not None
    assert (blueprint.hidden, blueprint.vocab, blueprint.tied, len(blueprint.decoder.layers)) == (
        2560,
        262208,
        True,
        34,
    )
    windows = [layer.attention.window for layer in blueprint.decoder.layers if layer.attention]
    assert windows[:7] == [1024] * 5 + [0, 1024]
    llava = families.read({"model_type": "llava", "text_config": {"model_type": "llama", "vocab_size": 32064}})
    assert llava is not None
    assert sum(tensor.elements for tensor in parameters.tensors(llava)) == 6_738_415_616 + 2 * 64 * 4096


@pytest.mark.parametrize("family", [name for name, family in families.FAMILIES.items() if family.defaults])
def test_what_is_usual_for_a_class_is_the_librarys_default(family: str) -> None:
    transformers: Any = pytest.importorskip(
        "transformers", reason="transformers is not installed: sync the group `hf`"
    )
    config = transformers.AutoConfig.for_model(family).to_dict()
    assert families.read({"text_config": {"model_type": family}}) == families.read(config)


def test_qwens_first_layers_attend_to_everything() -> None:
    known: dict[str, Any] = {**LLAMA, "model_type": "qwen2", "sliding_window": 8}
    for config, wanted in (
        (known, [0, 0, 0]),
        ({**known, "use_sliding_window": True, "max_window_layers": 1}, [0, 8, 8]),
        ({**known, "use_sliding_window": True}, [0, 0, 0]),
    ):
        blueprint = families.read(config)
        assert blueprint is not None
        assert [layer.attention.window for layer in blueprint.decoder.layers if layer.attention] == wanted


def test_an_unknown_decoder_is_guessed_and_an_unknown_thing_is_not() -> None:
    blueprint = families.read({**LLAMA, "model_type": "brand_new"})
    assert blueprint is not None
    assert blueprint.guessed
    assert families.read({"model_type": "brand_new"}) is None
    assert families.read({}) is None


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"hidden_size": -1}, "hidden_size = -1 isn't"),
        ({"hidden_size": 2**60}, "isn't a whole number from 0 to 1,099,511,627,776"),
        ({"hidden_size": "64"}, "hidden_size = '64' isn't"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers = 1000000000 isn't a whole number from 0 to 4,096"),
        ({"num_attention_heads": 0}, "num_attention_heads = 0 isn't possible"),
        ({"vocab_size": True}, "vocab_size = True isn't"),
    ],
)
def test_absurd_values_are_named(config: dict[str, Any], message: str) -> None:
    with pytest.raises(CorruptFileError, match=message):
        families.read({**LLAMA, **config})


def test_a_missing_value_is_named() -> None:
    with pytest.raises(CorruptFileError, match="hidden_size is missing"):
        families.read({"model_type": "llama"})


@pytest.mark.exhaustive
def test_a_config_cannot_ask_for_endless_tensors() -> None:
    blueprint = families.read(
        {**KNOWN["Mixtral-8x7B"]["config"], "num_local_experts": 4096, "num_hidden_layers": 4096}
    )
    assert blueprint is not None
    with pytest.raises(CorruptFileError, match="more than 1,000,000 tensors"):
        parameters.tensors(blueprint)


def test_layers_alternate_between_windows() -> None:
    blueprint = families.read(KNOWN["Gemma-2-9B"]["config"] | {"sliding_window": 4096})
    assert blueprint is not None
    windows = [layer.attention.window for layer in blueprint.decoder.layers if layer.attention]
    assert windows[:4] == [4096, 0, 4096, 0]
    listed = families.read({**LLAMA, "sliding_window": 8, "layer_types": ["full_attention", "sliding_attention"]})
    assert listed is not None
    assert [layer.attention.window for layer in listed.decoder.layers if layer.attention] == [0, 8, 0]


def test_sizes_are_exact_in_every_type() -> None:
    blueprint = families.read(LLAMA)
    assert blueprint is not None
    narrow, wide = parameters.tensors(blueprint, "BF16"), parameters.tensors(blueprint, "F32")
    assert (
        sum(t.nbytes for t in wide) == 2 * sum(t.nbytes for t in narrow) == 4 * sum(math.prod(t.shape) for t in wide)
    )
