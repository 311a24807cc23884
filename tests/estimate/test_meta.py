"""Models that only their own code describes: built on the meta device, and code of strangers only on request."""

import json
from pathlib import Path
from typing import Any

import pytest

from accel_estimate import estimate, load
from accel_estimate.errors import NoWeightsError, UsageError
from accel_estimate.formats.tensors import Group
from accel_estimate.model import meta
from tests.estimate.conftest import LLAMA

OWN_CODE = """
from transformers import LlamaConfig, LlamaForCausalLM
import pathlib
pathlib.Path({mark!r}).write_text("ran")
class OwnConfig(LlamaConfig):
    model_type = "own"
class OwnForCausalLM(LlamaForCausalLM):
    config_class = OwnConfig
"""


@pytest.fixture
def own(tmp_path: Path) -> tuple[Path, Path]:
    """A folder whose model is its own code, which leaves a mark when it runs."""
    folder, mark = tmp_path / "own", tmp_path / "ran"
    folder.mkdir()
    (folder / "own.py").write_text(OWN_CODE.format(mark=str(mark)))
    mapped = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnForCausalLM"}
    config = {**LLAMA, "model_type": "own", "auto_map": mapped, "hidden_act": "silu"}
    (folder / "config.json").write_text(json.dumps(config))
    return folder, mark


def test_without_the_library_the_way_out_is_named(own: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(_name: str) -> None:
        return None

    monkeypatch.setattr(meta, "find_spec", absent)
    with pytest.raises(UsageError, match=r"install transformers: uv pip install .*accel-estimate\[transformers\]'"):
        load(str(own[0]))
    with pytest.raises(UsageError, match=r"install timm: uv pip install .*accel-estimate\[timm\]'"):
        load(str(own[0]), library="timm")


def test_another_library_cannot_be_built(own: tuple[Path, Path]) -> None:
    with pytest.raises(UsageError, match="keras models can't be built; --library_name takes transformers or timm"):
        load(str(own[0]), library="keras")


def test_nothing_says_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(NoWeightsError, match="--library_name"):
        load(str(tmp_path))


@pytest.mark.filterwarnings("ignore")
def test_transformers_builds_what_it_knows(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="transformers is not installed: sync the group `hf`")
    config = {"model_type": "gptj", "architectures": ["GPTJForCausalLM"], "n_embd": 64, "n_layer": 2, "n_head": 4,
              "n_positions": 32, "rotary_dim": 8, "vocab_size": 100}  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    report = estimate(load(str(tmp_path)))
    layer = 2 * 64 + 4 * 64 * 64 + (256 * 64 + 256) + (64 * 256 + 64)
    assert report.parameters == 100 * 64 + 2 * layer + 2 * 64 + 100 * 64 + 100
    assert (report.model.origin, report.model.exact) == ("meta device", False)


@pytest.mark.filterwarnings("ignore")
def test_code_of_the_repository_runs_only_on_request(
    own: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    transformers: Any = pytest.importorskip(
        "transformers", reason="transformers is not installed: sync the group `hf`"
    )
    folder, mark = own
    monkeypatch.setattr(transformers.dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("nobody may be asked"))  # pyright: ignore[reportUnknownLambdaType]
    with pytest.raises(UsageError, match="--trust_remote_code"):
        load(str(folder))
    assert not mark.exists()
    trusted = load(str(folder), trust_remote_code=True)
    assert mark.exists()
    assert estimate(trusted).parameters == 2 * 256 * 64 + 3 * (64 * 64 * 2 + 32 * 64 * 2 + 3 * 64 * 128 + 128) + 64


@pytest.mark.filterwarnings("ignore")
def test_timm_builds_what_it_knows(tmp_path: Path) -> None:
    pytest.importorskip("timm", reason="timm is not installed: uv pip install timm")
    config = {"architecture": "resnet18", "num_classes": 10, "pretrained_cfg": {"num_classes": 10}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    report = estimate(load(str(tmp_path), library="timm"))
    statistics = 2 * 4800  # batch norms' running means and variances, which are saved too
    assert report.parameters == 11_176_512 + 512 * 10 + 10 + statistics
    assert report.largest == Group("layer4.0.conv2", 512 * 512 * 9 * 4)
