"""Time, requests and memory of accel-estimate, hf-mem and Accelerate's own command, on one Hub on loopback.

    uv run benchmarks/estimate_speed.py [--others PYTHON] [--shards 100] [--latency 0.05]

`--others` is the interpreter of an environment with the others (hf-mem, accelerate, transformers, torch); without it
only ours is measured. hf-mem has a fixed address of the Hub, so its requests are redirected to the loopback server.
Each command runs in a process of its own, with its imports; the best of `--times` counts.

Then come local folders, from one layer to 90,000 tensors: medians, in turn with Python that prints a table with rich.
"""

import argparse
import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from accel_config.record import Record

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

conftest: Any = importlib.import_module("tests.estimate.conftest")
hub_server: Any = importlib.import_module("tests.estimate.hub_server")

NAME = "org/llama"
REDIRECTED = """
import sys, httpx2 as httpx
endpoint, name = sys.argv[1:]
real = httpx.AsyncHTTPTransport.handle_async_request
async def redirected(self, request):
    request.url = httpx.URL(endpoint).copy_with(raw_path=request.url.raw_path)
    request.headers["host"] = request.url.netloc.decode()
    return await real(self, request)
httpx.AsyncHTTPTransport.handle_async_request = redirected
sys.argv = ["hf-mem", "--model-id", name]
from hf_mem.cli import main
main()
"""


TABLE = """
from rich.console import Console
from rich.table import Table
table = Table("dtype", "Total Size")
table.add_row("float32", "1 GiB")
Console().print(table)
"""
# Layers, the experts of each (256 have a scale for each matrix, as DeepSeek's fp8 does), and files, which may begin
# and end anywhere in a layer.
LOCAL = {"1 layer": (1, 0, 1), "Llama-3.1-70B": (80, 0, 30), "Mixtral-8x7B": (32, 8, 19),
         "Qwen3-235B": (94, 128, 118), "DeepSeek-V3, file a layer": (58, 256, 58),
         "DeepSeek-V3": (58, 256, 163)}  # fmt: skip


class Result(Record):
    """One run of a command: wall time, requests to the Hub, MiB of answers (`sent`) and of memory (`rss`)."""

    seconds: float
    requests: int
    sent: float
    rss: float
    failed: str = ""


def repository(hub: Any, shards: int) -> None:
    """Fill the Hub with a Llama of `shards` files, 7 tensors in each, about 1 GB a file."""
    config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 8192,
              "intermediate_size": 28672, "num_hidden_layers": shards, "num_attention_heads": 64,
              "num_key_value_heads": 8, "vocab_size": 32000, "torch_dtype": "bfloat16"}  # fmt: skip
    files: dict[str, Any] = {"config.json": json.dumps(config).encode()}
    where: dict[str, str] = {}
    for shard in range(shards):
        prefix, file = f"model.layers.{shard}", f"model-{shard + 1:05}-of-{shards:05}.safetensors"
        shapes = {f"{prefix}.self_attn.{n}_proj.weight": (8192 if n in "qo" else 1024, 8192) for n in "qkvo"}
        shapes |= {f"{prefix}.mlp.{n}_proj.weight": (28672, 8192) for n in ("gate", "up", "down")}
        front, size = conftest.sized(shapes)
        files[file] = hub_server.File(front, size)
        where |= dict.fromkeys(shapes, file)
    files["model.safetensors.index.json"] = json.dumps({"metadata": {}, "weight_map": where}).encode()
    hub.add(NAME, files, library="transformers")
    hub.repos[NAME].config = config


def measure(hub: Any, argv: Sequence[str], env: Mapping[str, str], times: int) -> Result:
    """Run a command `times` times; return its best run."""
    best: Result | None = None
    for _ in range(times):
        hub.log.clear()
        began = time.perf_counter()
        process = subprocess.Popen(argv, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        errors = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        failed = errors.strip().splitlines()[-1] if process.returncode and errors.strip() else ""
        took = time.perf_counter() - began
        result = Result(took, len(hub.log), hub.sent() / 2**20, usage.ru_maxrss / 1024, failed)
        best = result if best is None or result.seconds < best.seconds else best
    assert best is not None
    return best


def commands(hub: Any, others: str | None) -> dict[str, list[str]]:
    """Return the commands to measure."""
    found = {"accel-estimate": [sys.executable, "-m", "accel_estimate", NAME]}
    if others is None:
        print("hf-mem and accelerate aren't measured: name their interpreter with --others", file=sys.stderr)
        return found
    there = str(Path(others).parent / "accelerate")
    return found | {
        "hf-mem": [others, "-c", REDIRECTED, hub.endpoint, NAME],
        "accelerate estimate-memory": [there, "estimate-memory", NAME],
    }


def folder(place: Path, layers: int, experts: int, files: int) -> int:
    """Write a model of so many layers, experts and files, with holes for data; return its number of tensors."""
    place.mkdir()
    shapes: dict[str, tuple[int, int]] = {}
    for layer in range(layers):
        prefix = f"model.layers.{layer}"
        shapes |= {f"{prefix}.self_attn.{n}_proj.weight": (512, 512) for n in "qkvo"}
        for mlp in [f"mlp.experts.{n}" for n in range(experts)] or ["mlp"]:
            for part in ("gate", "up", "down"):
                shapes[f"{prefix}.{mlp}.{part}_proj.weight"] = (512, 512)
                if experts > 128:
                    shapes[f"{prefix}.{mlp}.{part}_proj.weight_scale_inv"] = (4, 4)
    names = list(shapes)
    for file in range(files):
        own = names[len(names) * file // files : len(names) * (file + 1) // files]
        front, size = conftest.sized({name: shapes[name] for name in own})
        with (place / f"model-{file + 1:05}-of-{files:05}.safetensors").open("wb") as opened:
            opened.write(front)
            opened.truncate(size)
    return len(names)


def local(times: int) -> None:
    """Measure local folders, in turn with Python that starts and prints a table with rich."""
    print(f"\n{'median seconds':28}{'tensors':>9}{'seconds':>9}{'table':>9}{'ratio':>9}")
    with tempfile.TemporaryDirectory() as home:
        for name, parts in LOCAL.items():
            tensors = folder(Path(home) / name, *parts)
            took: dict[str, list[float]] = {"ours": [], "table": []}
            for _ in range(times):
                for key, argv in (
                    ("ours", ["-m", "accel_estimate", str(Path(home) / name)]),
                    ("table", ["-c", TABLE]),
                ):
                    began = time.perf_counter()
                    subprocess.run([sys.executable, *argv], check=True, stdout=subprocess.DEVNULL)
                    took[key].append(time.perf_counter() - began)
            ours, table = (statistics.median(took[key]) for key in ("ours", "table"))
            print(f"{name:28}{tensors:9,}{ours:9.3f}{table:9.3f}{ours / table:9.2f}")


def main() -> None:
    """Measure, and print two tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--others", help="interpreter of an environment with hf-mem and accelerate")
    parser.add_argument("--shards", type=int, default=100)
    parser.add_argument("--latency", type=float, default=0.05, help="seconds before each answer of the Hub")
    parser.add_argument("--times", type=int, default=3)
    args = parser.parse_args()
    hub = hub_server.Hub().start()
    repository(hub, args.shards)
    hub.latency = args.latency
    print(f"{args.shards} shards, {args.latency * 1000:.0f} ms of latency, best of {args.times}\n")
    print(f"{'':28}{'seconds':>9}{'requests':>10}{'MiB sent':>10}{'MiB memory':>12}")
    with tempfile.TemporaryDirectory() as home:
        env = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
        env |= {"HF_ENDPOINT": hub.endpoint, "HF_HOME": home}
        for name, argv in commands(hub, args.others).items():
            it = measure(hub, argv, env, args.times)
            print(f"{name:28}{it.seconds:9.2f}{it.requests:10}{it.sent:10.1f}{it.rss:12.0f}  {it.failed}")
    hub.stop()
    local(5 * args.times)


if __name__ == "__main__":
    main()
