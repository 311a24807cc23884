"""The Hub, as the real huggingface_hub reads it: the requests, and each failure with its own message."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from accel_estimate import estimate, load
from accel_estimate.cli import main
from accel_estimate.errors import (
    AccessError,
    CorruptFileError,
    HubError,
    ModelNotFoundError,
    NoWeightsError,
    UsageError,
)
from accel_estimate.model import meta
from tests.estimate.conftest import LLAMA, sized
from tests.estimate.hub_server import File, Hub

SHAPES = {
    "model.embed_tokens.weight": (1000, 64),
    "model.layers.0.mlp.up_proj.weight": (256, 64),
    "norm.weight": (64,),
}


def _single(hub: Hub, name: str = "org/model", **how: Any) -> None:
    front, size = sized(SHAPES)
    hub.add(name, {"config.json": json.dumps(LLAMA).encode(), "model.safetensors": File(front, size)}, **how)


def _sharded(hub: Hub, shards: int, name: str = "org/big") -> int:
    files: dict[str, bytes | File] = {"config.json": json.dumps(LLAMA).encode(), "README.md": b"hello"}
    total = 0
    for shard in range(1, shards + 1):
        shapes = {f"model.layers.{shard}.mlp.{part}.weight": (4096, 14336) for part in ("up_proj", "down_proj")}
        front, size = sized(shapes)
        files[f"model-{shard:05}-of-{shards:05}.safetensors"] = File(front, size)
        total += size - len(front)
    files["model.safetensors.index.json"] = b'{"metadata": {"total_size": 1}, "weight_map": {}}'
    hub.add(name, files)
    return total


def test_a_model_costs_three_requests_and_no_weights(hub: Hub) -> None:
    _single(hub)
    model = load("org/model")
    assert model.stored_bytes == (1000 * 64 + 256 * 64 + 64) * 2
    assert (model.origin, model.config["hidden_size"]) == ("safetensors", 64)
    assert len(hub.log) == 3
    assert hub.sent() < 110_000


@pytest.mark.parametrize("cdn", [False, True])
def test_shards_are_read_at_once_and_not_the_index(hub: Hub, cdn: bool) -> None:
    total = _sharded(hub, 12)
    hub.cdn = cdn
    steps: list[tuple[int, int]] = []

    def report(done: int, whole: int) -> None:
        steps.append((done, whole))

    assert load("org/big", progress=report).stored_bytes == total
    assert len(hub.requests("/resolve/")) == 13
    assert len(hub.requests("/cdn/")) == (12 if cdn else 0)
    assert not hub.requests("index")
    assert steps[-1] == (13, 13)


@pytest.mark.serial
def test_a_hundred_shards_behind_50_ms_in_under_a_second(hub: Hub) -> None:
    total = _sharded(hub, 100)
    load("org/big")  # the first call pays for imports, which a user pays too: see benchmarks/estimate_speed.py
    hub.latency = 0.05
    times: list[float] = []
    for _ in range(3):  # the best of three: the machine may be busy with something else
        began = time.monotonic()
        assert load("org/big").stored_bytes == total
        times.append(time.monotonic() - began)
    assert min(times) < 1.0


def test_the_whole_command_in_a_process_of_its_own(hub: Hub, run: Callable[..., Any]) -> None:
    total = _sharded(hub, 3)
    done = run("org/big", "--json", HF_ENDPOINT=hub.endpoint)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["stored_bytes"] == total


def test_a_header_longer_than_the_first_read_costs_one_request_more(hub: Hub) -> None:
    front, size = sized({f"layers.{i}.{'x' * 40}.weight": (1,) for i in range(3000)})
    assert len(front) > 200_000
    hub.add("org/long", {"model.safetensors": File(front, size)})
    assert len(load("org/long").tensors) == 3000
    assert len(hub.requests("/resolve/")) == 2


def test_a_server_that_ignores_ranges_is_not_downloaded(hub: Hub) -> None:
    _single(hub)
    front, size = sized({"a.weight": (20_000, 20_000)})
    hub.add("org/fat", {"model.safetensors": File(front, size)})
    hub.ignore_range = True
    assert load("org/fat").stored_bytes == 800_000_000
    time.sleep(0.2)
    assert hub.sent() < 50_000_000


def test_an_irregular_index_is_followed(hub: Hub) -> None:
    front, size = sized(SHAPES)
    index = json.dumps({"weight_map": dict.fromkeys(SHAPES, "weights/part.safetensors")}).encode()
    hub.add("org/odd", {"model.safetensors.index.json": index, "weights/part.safetensors": File(front, size)})
    assert load("org/odd").stored_bytes == size - len(front)


def test_an_old_name_without_an_owner(hub: Hub) -> None:
    _single(hub, "gpt2")
    assert load("gpt2").name == "gpt2"


def test_components_of_a_pipeline(hub: Hub) -> None:
    unet, vae = sized({"conv.weight": (8, 8)}), sized({"decoder.weight": (16, 4)})
    hub.add("org/pipe", {"model_index.json": b"{}", "unet/diffusion_pytorch_model.safetensors": File(*unet),
                         "unet/diffusion_pytorch_model.fp16.safetensors": File(*unet),
                         "vae/diffusion_pytorch_model.safetensors": File(*vae)}, library="diffusers")  # fmt: skip
    stored = estimate(load("org/pipe")).to_json()["stored"]
    assert stored["by_component"] == {"unet": 128, "vae": 128}


def test_several_files_are_asked_about(hub: Hub) -> None:
    file = File(*sized({"a": (4,)}))
    hub.add("org/many", {"one.safetensors": file, "two.safetensors": file})
    with pytest.raises(UsageError, match=r"one\.safetensors, two\.safetensors.*--file"):
        load("org/many")
    assert load("org/many", file="two.safetensors").stored_bytes == 8
    with pytest.raises(ModelNotFoundError, match="no such file; the weight files are one"):
        load("org/many", file="three.safetensors")


# Every failure: its message, and its status.


def test_not_found(hub: Hub) -> None:
    with pytest.raises(
        ModelNotFoundError, match=r"org/none isn't on the Hub at .*, or it is private: log in"
    ) as caught:
        load("org/none")
    assert caught.value.status == 2


def test_gated_without_and_with_a_token(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    _single(hub, gated=True)
    with pytest.raises(AccessError, match=rf"request access at {hub.endpoint}/org/model, then log in"):
        load("org/model")
    monkeypatch.setenv("HF_TOKEN", hub.token)
    with pytest.raises(AccessError, match=rf"request access at {hub.endpoint}/org/model$"):
        load("org/model")


def test_private_with_a_token_that_may_not_read_it_and_one_that_may(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    _single(hub, private=True)
    with pytest.raises(ModelNotFoundError, match="private: log in"):
        load("org/model")
    monkeypatch.setenv("HF_TOKEN", hub.token)
    hub.cdn = True
    assert load("org/model").stored_bytes
    with pytest.raises(ModelNotFoundError, match="your token has no access to it"):
        load("org/other")


def test_a_bad_token_is_not_called_a_missing_model(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    _single(hub)
    monkeypatch.setenv("HF_TOKEN", "hf_stale")
    with pytest.raises(AccessError, match="doesn't accept your token") as caught:
        load("org/model")
    assert caught.value.status == 2
    assert "hf_stale" not in str(caught.value)


def test_a_token_that_cannot_be_sent(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    _single(hub)
    monkeypatch.setenv("HF_TOKEN", "hf_\u00e9")
    with pytest.raises(AccessError, match="has invalid characters"):
        load("org/model")


def test_a_token_that_is_not_to_be_sent(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    _single(hub)
    monkeypatch.setenv("HF_TOKEN", "hf_stale")
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", True)
    assert load("org/model").stored_bytes


@pytest.mark.parametrize("address", ["localhost:1", "http://[bad", "http://h:999999", "ftp://h", "https://"])
def test_no_address_of_a_hub(hub: Hub, run: Callable[..., Any], address: str) -> None:
    done = run("org/model", HF_ENDPOINT=address)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"accel-estimate: HF_ENDPOINT: {address!r} isn't an address of a Hub")
    assert len(done.stderr.splitlines()) == 1


def test_a_hub_that_goes_round_in_circles(hub: Hub) -> None:
    hub.circles = True
    with pytest.raises(HubError, match=r"no usable answer in 4 tries \(TooManyRedirects"):
        load("org/model")


def test_what_a_hub_says_commands_no_terminal(hub: Hub) -> None:
    _single(hub)
    hub.repos["org/model"].disabled = True
    hub.message = "\x1b[31mdisabled"
    with pytest.raises(AccessError, match=r"is disabled on the Hub: \[31mdisabled"):
        load("org/model")


def test_ctrl_c_waits_for_no_answer(hub: Hub, tmp_path: Path) -> None:
    _sharded(hub, 8)
    hub.drip = 0.05
    env = {**os.environ, "HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-m", "accel_estimate", "org/big"], env=env, stderr=subprocess.PIPE, text=True
    ) as child:
        while not hub.requests("config.json"):  # then the shards, which drip, are asked for too
            time.sleep(0.05)
        time.sleep(0.3)
        began = time.monotonic()
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=30)
    assert (child.returncode, err) == (130, "")
    assert time.monotonic() - began < 5


def test_disabled(hub: Hub) -> None:
    _single(hub, disabled=True)
    with pytest.raises(AccessError, match="is disabled"):
        load("org/model")


def test_no_such_revision(hub: Hub) -> None:
    _single(hub)
    with pytest.raises(ModelNotFoundError, match="no revision 'v9'"):
        load("org/model", revision="v9")


def test_no_name_of_a_repository(hub: Hub) -> None:
    with pytest.raises(UsageError, match="neither a file or folder on this machine nor a valid name"):
        load("what is this")
    with pytest.raises(ModelNotFoundError, match="no such file or folder"):
        load("./nowhere")
    with pytest.raises(ModelNotFoundError, match="no such file or folder"):
        load("a/b/c")
    assert not hub.log


def test_a_failing_hub_is_tried_again_and_then_named(hub: Hub) -> None:
    _single(hub)
    hub.failures = 3
    assert load("org/model").stored_bytes
    hub.failures = 10**9
    with pytest.raises(HubError, match=r"no usable answer in 4 tries \(HTTP 503\)") as caught:
        load("org/model")
    assert caught.value.status == 1
    assert len(hub.requests("/api/")) == 5 + 3


def test_too_many_requests_are_waited_for(hub: Hub) -> None:
    _single(hub)
    hub.failures, hub.fail_status = 1, 429
    assert load("org/model").stored_bytes


def test_a_hub_out_of_reach(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(HubError, match=r"http://127\.0\.0\.1:9 gave no usable answer in 4 tries \(ConnectError"):
        load("org/model")


def test_a_hub_that_drips(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    from accel_estimate.sources.hub import client

    _single(hub)
    hub.drip = 0.02
    monkeypatch.setattr(client, "_DEADLINE", 0.3)
    began = time.monotonic()
    with pytest.raises(HubError, match="took more than"):
        load("org/model")
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("what", ["/api/models", "model.safetensors", "config.json"])
def test_an_answer_whose_headers_drip_for_ever(hub: Hub, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """No single read takes long."""
    from accel_estimate.sources.hub import client

    _single(hub)
    hub.endless = what
    monkeypatch.setattr(client, "_DEADLINE", 0.5)
    began = time.monotonic()
    try:
        with pytest.raises(HubError, match=f"took more than 0.5 s for .*{what}"):
            load("org/model")
        assert time.monotonic() - began < 5
    finally:
        hub.endless = ""


def test_a_server_that_is_no_hub(hub: Hub) -> None:
    hub.add("org/model", {})
    hub.repos["org/model"].files = None  # type: ignore[assignment]  # its listing fails, the answer stops short
    with pytest.raises(HubError):
        load("org/model")


def _snapshot(hub: Hub, cache: Path, name: str = "org/model") -> None:
    """Put the repository into the cache with the real client, in a process where HF_ENDPOINT is ours from the start."""
    code = f"import huggingface_hub; huggingface_hub.snapshot_download({name!r}, cache_dir={str(cache)!r})"
    env = os.environ | {"HF_ENDPOINT": hub.endpoint, "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_XET": "1"}
    subprocess.run([sys.executable, "-c", code], env=env, check=True, timeout=60)
    hub.log.clear()


def test_offline_reads_the_snapshot_that_the_real_client_wrote(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    _single(hub)
    _snapshot(hub, Path(constants.HF_HUB_CACHE))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    model = load("org/model")
    assert (model.name, model.stored_bytes, model.origin) == ("org/model", 160_896, "safetensors")
    assert not hub.log


def test_offline_without_a_snapshot(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    _single(hub)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(HubError, match=r"HF_HUB_OFFLINE is set, and org/model \(main\) isn't in the cache") as caught:
        load("org/model")
    assert caught.value.status == 1
    assert not hub.log


def test_a_dead_hub_points_at_the_cache(hub: Hub) -> None:
    from huggingface_hub import constants

    _single(hub)
    _snapshot(hub, Path(constants.HF_HUB_CACHE))
    hub.failures = 10**9
    with pytest.raises(HubError, match="set HF_HUB_OFFLINE=1 to use the copy"):
        load("org/model")


def test_no_weights(hub: Hub) -> None:
    hub.add("org/empty", {"README.md": b"nothing"})
    with pytest.raises(NoWeightsError, match=r"no safetensors or GGUF file.*--library_name"):
        load("org/empty")
    hub.add("org/pickled", {"pytorch_model.bin": File(b"", 5000)})
    with pytest.raises(NoWeightsError, match=r"\.bin files contain no shapes"):
        load("org/pickled")


def test_weights_in_bin_files_are_told_from_the_config(hub: Hub) -> None:
    hub.add("org/old", {"pytorch_model.bin": File(b"", 5000), "config.json": json.dumps(LLAMA).encode()})
    model = load("org/old")
    assert (model.origin, model.exact, model.stored_bytes) == ("config.json", False, 5000)


def test_a_model_that_only_its_library_can_build(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(_name: str) -> None:
        """Say that no library is installed, whichever are."""

    monkeypatch.setattr(meta, "find_spec", absent)
    hub.add("org/new", {"config.json": b'{"model_type": "brand_new"}', "pytorch_model.bin": File(b"", 5000)})
    with pytest.raises(UsageError, match=r"install timm: uv pip install .*accel-estimate\[timm\]'"):
        load("org/new", library="timm")


def test_a_missing_shard(hub: Hub) -> None:
    _sharded(hub, 3)
    del hub.repos["org/big"].files["model-00002-of-00003.safetensors"]
    with pytest.raises(CorruptFileError, match="shard 2 of 3 is missing"):
        load("org/big")


def test_a_hostile_header_on_the_hub(hub: Hub) -> None:
    hub.add("org/evil", {"model.safetensors": File(b"\xff" * 8, 10**12)})
    with pytest.raises(CorruptFileError, match=r"org/evil/model\.safetensors: claims a header of"):
        load("org/evil")
    hub.add("org/liar", {"model.safetensors": File((5_000_000).to_bytes(8, "little") + b"{", 2000)})
    with pytest.raises(CorruptFileError, match="whole file has 2,000"):
        load("org/liar")


def test_a_config_that_is_no_config(hub: Hub) -> None:
    front, size = sized(SHAPES)
    hub.add("org/model", {"config.json": b"[" * 50_000, "model.safetensors": File(front, size)})
    with pytest.raises(CorruptFileError, match=r"config\.json: isn't valid JSON"):
        load("org/model")
    hub.repos["org/model"].files["config.json"] = File(b"{}", 10**10)
    with pytest.raises(CorruptFileError, match="10,000,000,000 bytes"):
        load("org/model")


def test_messages_are_one_line_and_statuses_are_given(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["org/none"]) == 2
    hub.failures = 10**9
    assert main(["org/none"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.strip().splitlines()) == 2
    assert all(line.startswith("accel-estimate: ") for line in err.splitlines())


def test_a_progress_bar_on_a_terminal(hub: Hub, tmp_path: Path) -> None:
    import pexpect

    _sharded(hub, 12)
    hub.latency = 0.1
    env = {**os.environ, "HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path), "TERM": "xterm", "COLUMNS": "120"}
    child: Any = pexpect.spawn(
        sys.executable, ["-m", "accel_estimate", "org/big"], env=env, timeout=30, encoding="utf-8"
    )
    child.expect("Reading headers")
    child.expect("Memory to load org/big")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
