"""The contract with scripts made for the existing command, row by row: settings in, plan out.

The tables are written out rather than derived from the catalogue: they are what the catalogue is held against.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from accel_config import CATALOGUE, AccelError
from accel_config.catalogue import SageMaker
from accel_launch import Plan, plan
from accel_launch.machine.devices import Device
from accel_launch.machine.host import Host
from accel_launch.planning.checks import arrangement
from accel_launch.planning.findings import Findings
from accel_launch.planning.layout import lay_out
from tests.conftest import Resolve
from tests.launch.hosts import Still, gpus, host

Planned = Callable[..., Plan]
FSDP = "--use_fsdp"
FSDP2 = "--use_fsdp --fsdp_version=2"
DEEPSPEED = "--use_deepspeed"
MEGATRON = "--use_megatron_lm"
FP8 = "--mixed_precision=fp8"
# Flags of the launcher that aren't written into files and that the existing command doesn't have.
ONLY_HERE = (
    "dry_run",
    "json",
    "explain",
    "preset",
    "fp8_use_mxfp8_block_scaling",
    "fsdp_ignored_modules",
    "slurm",
    "submit",
    "kubernetes",
)
WIDE = "--use_fsdp --fsdp_version=2 --num_processes=8"


@pytest.fixture
def planned(settings: Resolve, tmp_path: Path) -> Planned:
    """The plan of a command line on a machine of eight GPUs: ``planned("--use_fsdp", file="...")``."""
    (tmp_path / "train.py").touch()

    def make(flags: str = "", *, file: str | None = None, on: Host | None = None, **environ: str) -> Plan:
        words = flags.split()
        machine = (on or host(8)).replace(cwd=str(tmp_path))
        resolved = settings(*words, file=file, environ=environ)
        return plan(resolved, machine.replace(environ={**machine.environ, **environ}), ["train.py"])

    return make


def hyphens(flag: str) -> str:
    name, equals, value = flag.partition("=")
    return name.replace("_", "-") + equals + value


# Sections 1.2 to 1.15: what else is on the command line, a flag, and what the script is then told.
FLAGS: list[tuple[str, str, dict[str, str]]] = [
    # 1.2
    ("", "--cpu", {"ACCELERATE_USE_CPU": "True", "KMP_BLOCKTIME": "1", "KMP_AFFINITY": "granularity=fine,compact,1,0"}),
    ("", "--multi_gpu", {"WORLD_SIZE": "8"}),
    # 1.3
    ("", "--mixed_precision=no", {"ACCELERATE_MIXED_PRECISION": "no"}),
    ("", "--mixed_precision=fp16", {"ACCELERATE_MIXED_PRECISION": "fp16"}),
    ("", "--mixed_precision=bf16", {"ACCELERATE_MIXED_PRECISION": "bf16"}),
    ("", "--mixed_precision=fp8", {"ACCELERATE_MIXED_PRECISION": "fp8"}),
    ("", "--num_processes=4", {"WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "4"}),
    ("", "--num_cpu_threads_per_process=3", {"OMP_NUM_THREADS": "3"}),
    ("", "--enable_cpu_affinity", {"ACCELERATE_CPU_AFFINITY": "1"}),
    *[
        ("", f"--dynamo_backend={name}", {"ACCELERATE_DYNAMO_BACKEND": name.upper()})
        for name in ["no", "eager", "aot_eager", "inductor", "aot_ts_nvfuser", "nvprims_nvfuser", "cudagraphs", "ofi", "fx2trt", "onnxrt", "tensorrt", "aot_torchxla_trace_once", "torchxla_trace_once", "tvm", "hpu_backend", "neuron"]
    ],
    ("", "--dynamo_backend=torhchxla_trace_once", {"ACCELERATE_DYNAMO_BACKEND": "TORCHXLA_TRACE_ONCE"}),
    ("", "--dynamo_mode=max-autotune", {"ACCELERATE_DYNAMO_MODE": "max-autotune"}),
    ("", "--dynamo_mode=reduce-overhead", {"ACCELERATE_DYNAMO_MODE": "reduce-overhead"}),
    ("", "--dynamo_use_fullgraph", {"ACCELERATE_DYNAMO_USE_FULLGRAPH": "True"}),
    ("", "--dynamo_use_dynamic", {"ACCELERATE_DYNAMO_USE_DYNAMIC": "True"}),
    ("", "--dynamo_use_dynamic=false", {"ACCELERATE_DYNAMO_USE_DYNAMIC": "False"}),
    ("", "--dynamo_use_regional_compilation", {"ACCELERATE_DYNAMO_USE_REGIONAL_COMPILATION": "True"}),
    # 1.4
    ("", "--use_deepspeed", {"ACCELERATE_USE_DEEPSPEED": "true"}),
    ("", "--use_fsdp", {"ACCELERATE_USE_FSDP": "true"}),
    ("", "--use_megatron_lm", {"ACCELERATE_USE_MEGATRON_LM": "true"}),
    (FSDP2, "--use_parallelism_config", {"ACCELERATE_USE_PARALLELISM_CONFIG": "true"}),
    # 1.5
    ("", "--gpu_ids=2,5", {"CUDA_VISIBLE_DEVICES": "2,5", "WORLD_SIZE": "2"}),
    ("", "--gpu_ids=2-4", {"CUDA_VISIBLE_DEVICES": "2,3,4", "WORLD_SIZE": "3"}),
    ("", "--gpu_ids=GPU-1abc,GPU-6abc", {"CUDA_VISIBLE_DEVICES": "1,6"}),
    ("", "--gpu_ids=MIG-5e1-a,MIG-5e1-b", {"CUDA_VISIBLE_DEVICES": "MIG-5e1-a", "WORLD_SIZE": "2"}),
    ("", "--gpu_ids=all", {"WORLD_SIZE": "8"}),
    ("", "--main_process_ip=10.0.0.1", {"MASTER_ADDR": "10.0.0.1"}),
    ("", "--main_process_port=1234", {"MASTER_PORT": "1234"}),
    ("", "--main_process_port=0", {"MASTER_PORT": "40001"}),
    ("", "--role=trainer", {"ROLE_NAME": "trainer"}),
    # 1.7
    (DEEPSPEED, "--zero_stage=3", {"ACCELERATE_DEEPSPEED_ZERO_STAGE": "3"}),
    (DEEPSPEED, "--offload_optimizer_device=NVME", {"ACCELERATE_DEEPSPEED_OFFLOAD_OPTIMIZER_DEVICE": "nvme"}),
    (DEEPSPEED, "--offload_param_device=CPU", {"ACCELERATE_DEEPSPEED_OFFLOAD_PARAM_DEVICE": "cpu"}),
    (DEEPSPEED, "--offload_optimizer_nvme_path=/Fast", {"ACCELERATE_DEEPSPEED_OFFLOAD_OPTIMIZER_NVME_PATH": "/Fast"}),
    (DEEPSPEED, "--offload_param_nvme_path=/Fast", {"ACCELERATE_DEEPSPEED_OFFLOAD_PARAM_NVME_PATH": "/Fast"}),
    (DEEPSPEED, "--gradient_accumulation_steps=4", {"ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "4"}),
    (DEEPSPEED, "--gradient_clipping=0.5", {"ACCELERATE_GRADIENT_CLIPPING": "0.5"}),
    (DEEPSPEED, "--zero3_init_flag=True", {"ACCELERATE_DEEPSPEED_ZERO3_INIT": "true"}),
    (DEEPSPEED, "--zero3_save_16bit_model=True", {"ACCELERATE_DEEPSPEED_ZERO3_SAVE_16BIT_MODEL": "true"}),
    (DEEPSPEED, "--deepspeed_moe_layer_cls_names=A,B", {"ACCELERATE_DEEPSPEED_MOE_LAYER_CLS_NAMES": "A,B"}),
    # 1.8
    (FSDP, "--fsdp_version=2", {"FSDP_VERSION": "2"}),
    (FSDP, "--fsdp_offload_params=True", {"FSDP_OFFLOAD_PARAMS": "true"}),
    (FSDP, "--fsdp_min_num_params=1e6", {"FSDP_MIN_NUM_PARAMS": "1000000"}),
    *[
        (FSDP, f"--fsdp_sharding_strategy={given}", {"FSDP_SHARDING_STRATEGY": name})
        for place, name in enumerate(["FULL_SHARD", "SHARD_GRAD_OP", "NO_SHARD", "HYBRID_SHARD", "HYBRID_SHARD_ZERO2"], 1)
        for given in (name, name.lower(), place)
    ],
    (FSDP2, "--fsdp_reshard_after_forward=False", {"FSDP_RESHARD_AFTER_FORWARD": "false"}),
    (FSDP, "--fsdp_auto_wrap_policy=size_based_wrap", {"FSDP_AUTO_WRAP_POLICY": "SIZE_BASED_WRAP"}),
    (FSDP, "--fsdp_auto_wrap_policy=NO_WRAP", {"FSDP_AUTO_WRAP_POLICY": "NO_WRAP"}),
    (FSDP, "--fsdp_transformer_layer_cls_to_wrap=BertLayer,X", {"FSDP_TRANSFORMER_CLS_TO_WRAP": "BertLayer,X"}),
    (FSDP, "--fsdp_backward_prefetch=BACKWARD_POST", {"FSDP_BACKWARD_PREFETCH": "BACKWARD_POST"}),
    (FSDP, "--fsdp_state_dict_type=SHARDED_STATE_DICT", {"FSDP_STATE_DICT_TYPE": "SHARDED_STATE_DICT"}),
    (FSDP, "--fsdp_forward_prefetch=True", {"FSDP_FORWARD_PREFETCH": "true"}),
    (FSDP, "--fsdp_use_orig_params=False", {"FSDP_USE_ORIG_PARAMS": "false"}),
    (FSDP, "--fsdp_cpu_ram_efficient_loading=False", {"FSDP_CPU_RAM_EFFICIENT_LOADING": "false"}),
    (FSDP2, "--fsdp_sync_module_states=False", {"FSDP_SYNC_MODULE_STATES": "false"}),
    (FSDP, "--fsdp_activation_checkpointing=True", {"FSDP_ACTIVATION_CHECKPOINTING": "true"}),
    (FSDP, "--fsdp_activation_checkpointing", {"FSDP_ACTIVATION_CHECKPOINTING": "true"}),
    (
        f"{FSDP2} --fsdp_activation_checkpointing=1",
        "--fsdp_activation_checkpointing_offload=True",
        {"FSDP_ACTIVATION_CHECKPOINTING_OFFLOAD": "true"},
    ),
    # 1.9
    *[
        (MEGATRON, f"--megatron_lm_{name}={given}", {f"MEGATRON_LM_{name.upper()}": given})
        for name, given in (
            pair.split("=")
            for pair in ["tp_degree=2", "pp_degree=4", "context_parallel_size=2", "num_micro_batches=8", "expert_model_parallel_size=2", "expert_tensor_parallel_size=2", "decoder_last_pipeline_num_layers=3", "recompute_num_layers=2", "gradient_clipping=0.5", "attention_dropout=0.1", "hidden_dropout=0.2", "recompute_granularity=selective", "recompute_method=block"]
        )
    ],
    *[
        (MEGATRON, f"--megatron_lm_{name}={given}", {f"MEGATRON_LM_{name.upper()}": told})
        for name in ["use_custom_fsdp", "no_load_optim", "eod_mask_loss", "overlap_cpu_optimizer_d2h_h2d", "no_save_optim", "optimizer_cpu_offload", "use_precision_aware_optimizer"]
        for given, told in (("true", "True"), ("false", "False"), ("1", "True"), ("0", "False"))
    ],
    *[
        (MEGATRON, f"--megatron_lm_{name}={given}", {f"MEGATRON_LM_{name.upper()}": told})
        for name in ["sequence_parallelism", "recompute_activations", "use_distributed_optimizer", "attention_backend", "attention_softmax_in_fp32", "calculate_per_token_loss", "use_rotary_position_embeddings"]
        for given, told in (("True", "true"), ("false", "false"))
    ],
    # 1.10
    *[(FP8, f"--fp8_backend={name}", {"ACCELERATE_FP8_BACKEND": name.upper()}) for name in ("ao", "te", "msamp", "AO")],
    (FP8, "--fp8_use_autocast_during_eval", {"ACCELERATE_FP8_USE_AUTOCAST_DURING_EVAL": "True"}),
    (FP8, "--fp8_margin=2", {"ACCELERATE_FP8_MARGIN": "2"}),
    (FP8, "--fp8_interval=3", {"ACCELERATE_FP8_INTERVAL": "3"}),
    (FP8, "--fp8_format=e4m3", {"ACCELERATE_FP8_FORMAT": "E4M3"}),
    (FP8, "--fp8_amax_history_len=16", {"ACCELERATE_FP8_AMAX_HISTORY_LEN": "16"}),
    (FP8, "--fp8_amax_compute_algo=max", {"ACCELERATE_FP8_AMAX_COMPUTE_ALGO": "max"}),
    (
        FP8,
        "--fp8_override_linear_precision=true,false,1",
        {
            "ACCELERATE_FP8_OVERRIDE_FPROP": "True",
            "ACCELERATE_FP8_OVERRIDE_DGRAD": "False",
            "ACCELERATE_FP8_OVERRIDE_WGRAD": "True",
        },
    ),
    (FP8, "--fp8_opt_level=O1", {"ACCELERATE_FP8_OPT_LEVEL": "O1"}),
    (FP8, "--fp8_enable_fsdp_float8_all_gather=false", {"ACCELERATE_FP8_ENABLE_FSDP_FLOAT8_ALL_GATHER": "False"}),
    (FP8, "--fp8_pad_inner_dim=false", {"ACCELERATE_FP8_PAD_INNER_DIM": "False"}),
    # 1.13
    (f"{WIDE} --parallelism_config_dp_shard_size=4", "--parallelism_config_dp_replicate_size=2", {"PARALLELISM_CONFIG_DP_REPLICATE_SIZE": "2"}),
    (f"{WIDE} --parallelism_config_tp_size=2", "--parallelism_config_dp_shard_size=4", {"PARALLELISM_CONFIG_DP_SHARD_SIZE": "4"}),
    (WIDE, "--parallelism_config_tp_size=4", {"PARALLELISM_CONFIG_TP_SIZE": "4"}),
    (WIDE, "--parallelism_config_cp_size=8", {"PARALLELISM_CONFIG_CP_SIZE": "8", "PARALLELISM_CONFIG_CP_COMM_STRATEGY": "allgather"}),
    (WIDE, "--parallelism_config_cp_backend=torch", {"PARALLELISM_CONFIG_CP_BACKEND": "torch"}),
    (f"{WIDE} --parallelism_config_cp_size=2", "--parallelism_config_cp_comm_strategy=alltoall", {"PARALLELISM_CONFIG_CP_COMM_STRATEGY": "alltoall"}),
    (DEEPSPEED, "--parallelism_config_sp_size=2", {"PARALLELISM_CONFIG_SP_SIZE": "2", "PARALLELISM_CONFIG_SP_SEQ_LENGTH_IS_VARIABLE": "True", "PARALLELISM_CONFIG_SP_ATTN_IMPLEMENTATION": "sdpa"}),
    (DEEPSPEED, "--parallelism_config_sp_backend=deepspeed", {"PARALLELISM_CONFIG_SP_BACKEND": "deepspeed"}),
    (f"{DEEPSPEED} --parallelism_config_sp_size=2", "--parallelism_config_sp_seq_length=512", {"PARALLELISM_CONFIG_SP_SEQ_LENGTH": "512"}),
    (f"{DEEPSPEED} --parallelism_config_sp_size=2 --parallelism_config_sp_seq_length=512", "--parallelism_config_sp_seq_length_is_variable=false", {"PARALLELISM_CONFIG_SP_SEQ_LENGTH_IS_VARIABLE": "False"}),
    (f"{DEEPSPEED} --parallelism_config_sp_size=2", "--parallelism_config_sp_attn_implementation=flash_attention_2", {"PARALLELISM_CONFIG_SP_ATTN_IMPLEMENTATION": "flash_attention_2"}),
    # 1.14
    ("", "--debug", {"ACCELERATE_DEBUG_MODE": "true", "TORCH_DISTRIBUTED_DEBUG": "INFO"}),
    # 1.15
    (FSDP, "--fsdp_backward_prefetch_policy=NO_PREFETCH", {"FSDP_BACKWARD_PREFETCH": "NO_PREFETCH"}),
]  # fmt: skip


@pytest.mark.parametrize(("context", "flag", "told"), FLAGS, ids=[f"{flag} {context}" for context, flag, _ in FLAGS])
def test_flags_in_both_spellings(planned: Planned, context: str, flag: str, told: dict[str, str]) -> None:
    on = host(8, probe=Still(modules=("torch", "deepspeed", "megatron", "torchao", "transformer_engine", "msamp")))
    if "context_parallel" in flag:
        context += " --num_processes=8"
    for spelling in (flag, hyphens(flag)):
        env = planned(f"{context} {spelling}", on=on).commands[0].env
        assert {name: env.get(name) for name in told} == told


# Flags whose effect is a word of torchrun's, over two machines.
AGENT = "--num_machines=2 --num_processes=4 --main_process_ip=10.0.0.1 --machine_rank=1 --main_process_port=2000"
ELASTIC = f"{AGENT.replace('--num_processes=4', '--nproc_per_node=2')} --num_machines=1:2"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (
            AGENT,
            ["--nnodes=2", "--nproc-per-node=2", "--node-rank=1", "--master-addr=10.0.0.1", "--master-port=2000"],
        ),
        (f"{AGENT} --rdzv_backend=static", ["--rdzv-backend=static", "--master-addr=10.0.0.1"]),
        (f"{AGENT} --rdzv_backend=c10d", ["--rdzv-backend=c10d", "--rdzv-endpoint=10.0.0.1:2000"]),
        (f"{AGENT} --rdzv_backend=c10d --same_network", ["--rdzv-endpoint=10.0.0.1:2000"]),
        (
            f"{AGENT} --rdzv_backend=etcd-v2",
            ["--rdzv-endpoint=10.0.0.1:2000", "--local-addr=10.0.0.7", "--rdzv-conf=join_timeout=960"],
        ),
        (
            f"{AGENT} --rdzv_backend=etcd --machine_rank=0 --rdzv_conf=protocol=https",
            ["--rdzv-backend=etcd", "--local-addr=10.0.0.7", "--rdzv-conf=timeout=960,protocol=https"],
        ),
        (
            f"{AGENT} --python=/py --rdzv_backend=mine --rdzv_conf=a=1",
            ["--rdzv-endpoint=10.0.0.1:2000", "--rdzv-conf=a=1"],
        ),
        (f"{ELASTIC} --rdzv_backend=etcd", ["--rdzv-backend=etcd", "--nnodes=1:2"]),
        (ELASTIC, ["--rdzv-backend=c10d", "--nnodes=1:2"]),
        (f"{AGENT} --same_network", ["--master-addr=10.0.0.1", "--master-port=2000"]),
        (f"{AGENT} --rdzv_conf=timeout=9", ["--rdzv-conf=timeout=9"]),
        (f"{AGENT} --max_restarts=3", ["--max-restarts=3"]),
        ("--engine=torchrun --max_restarts=3", ["--max-restarts=3", "--nnodes=1", "--master-port=40001"]),
        (f"{AGENT} --monitor_interval=0.5", ["--monitor-interval=0.5"]),
        (f"{AGENT} --role=trainer", ["--role=trainer"]),
    ],
)
def test_words_of_the_agent(planned: Planned, flags: str, words: list[str]) -> None:
    on = host(8, probe=Still(modules=("torch", "etcd")))
    for spelling in (flags, " ".join(map(hyphens, flags.split()))):
        todo = planned(spelling, on=on)
        assert todo.engine == "torchrun"
        assert set(words) <= set(todo.commands[0].argv)


def test_at_a_service_the_launchers_do_not_meet(planned: Planned) -> None:
    """Nor is its port the main machine's own, nor the way to it that of the ranks."""
    on = host(2, probe=Still(busy=(2000,), modules=("torch", "etcd")))
    first = AGENT.replace("machine_rank=1", "machine_rank=0").replace("10.0.0.1", "192.0.2.9")
    for backend in ("etcd", "mine"):
        todo = planned(f"{first} --rdzv_backend={backend} --python=/py", on=on)
        (note,) = todo.notes
        assert note.startswith(f"main_process_ip 192.0.2.9 (--main_process_ip) is the address of {backend}:")
        assert not {"RES_OPTIONS", "GLOO_SOCKET_IFNAME"} & set(todo.commands[0].env)
        assert todo.lifeline is not None
        assert todo.lifeline.port == 0
    todo = planned(f"{first} --rdzv_backend=etcd --lifeline_port=2001", on=on)
    assert todo.lifeline is not None
    assert (todo.lifeline.port, todo.notes) == (2001, ())


@pytest.mark.parametrize(
    ("address", "rank", "listen"),
    [
        ("10.0.0.1", 0, ("10.0.0.1",)),
        ("192.0.2.9", 0, ()),  # forwarded from another machine
        ("trainer", 0, ("10.0.0.7",)),  # of the interface to which the name leads
        ("10.0.0.1", 1, ()),
    ],
)
def test_without_a_secret_the_main_machine_listens_only_where_the_others_come(
    planned: Planned, address: str, rank: int, listen: tuple[str, ...]
) -> None:
    flags = AGENT.replace("machine_rank=1", f"machine_rank={rank}").replace("10.0.0.1", address)
    todo = planned(flags, on=host(2, probe=Still(modules=("torch",))))
    assert todo.lifeline is not None
    assert todo.lifeline.listen == listen


@pytest.mark.parametrize(
    ("secret", "mode", "notes"),
    [
        ("0123456789abcdef" * 4, 0o600, []),
        ("guess me", 0o600, ["is short enough to be guessed"]),
        ("0123456789abcdef" * 4, 0o640, ["can be read by others on this machine"]),
    ],
)
def test_a_secret_that_is_none_is_noted(
    planned: Planned, tmp_path: Path, secret: str, mode: int, notes: list[str]
) -> None:
    (tmp_path / "secret").write_text(secret)
    (tmp_path / "secret").chmod(mode)
    todo = planned(
        f"{AGENT} --lifeline_secret_file={tmp_path / 'secret'}", on=host(2, probe=Still(modules=("torch",)))
    )
    assert [any(words in note for note in todo.notes) for words in notes] == [True] * len(notes)
    assert len(todo.notes) == len(notes)


ALONE = "the ranks of one machine need no rendezvous"


@pytest.mark.parametrize("flags", ["--cpu", "--cpu --num_processes=2", "--cpu --max_restarts=1"])
def test_one_machine_has_nobody_to_meet(planned: Planned, flags: str) -> None:
    for flag in ("--rdzv_backend=c10d", "--same_network", "--run_id=r", "--join_timeout=9", "--lifeline_port=9"):
        (note,) = [note for note in planned(f"{flags} {flag}").notes if "has no effect" in note]
        name, _, value = flag[2:].partition("=")
        assert note == f"{name} {value or 'true'} (--{name}) has no effect: {ALONE}"
    file = "{rdzv_backend: c10d, same_network: true, join_timeout: 9}"
    assert "no effect" not in "".join(planned(flags, file=file).notes)


def test_restarts_that_the_machines_make_alone_are_told(planned: Planned) -> None:
    """Torch's static rendezvous has no round that all machines enter."""

    def notes(flags: str) -> list[str]:
        return [note for note in planned(flags).notes if "max_restarts" in note]

    (note,) = notes(f"{AGENT} --max_restarts=3")
    assert note.startswith("max_restarts 3 (--max_restarts) with rdzv_backend static: each machine restarts its own")
    assert note.endswith("--rdzv_backend c10d starts them together")
    for other in (AGENT, f"{AGENT} --max_restarts=3 --rdzv_backend=c10d", "--max_restarts=3"):
        assert notes(other) == []


# Flags that other engines act on (or the launcher itself), and what they set.
VALUES: list[tuple[str, str, object]] = [
    ("--tpu", "tpu", True),
    ("--tpu_cluster", "tpu_cluster", True),
    ("--no_tpu_cluster", "tpu_cluster", False),
    ("--tpu_use_sudo", "tpu_use_sudo", True),
    ("--vm=a --vm=b", "vm", ("a", "b")),
    ("--env=A=1 --env=B=2", "env", ("A=1", "B=2")),
    ("--main_training_function=train", "main_training_function", "train"),
    ("--tpu", "main_training_function", "main"),
    ("--downcast_bf16", "downcast_bf16", True),
    ("--deepspeed_config_file=ds.json", "deepspeed_config_file", "ds.json"),
    ("--deepspeed_hostfile=hosts", "deepspeed_hostfile", "hosts"),
    ("--deepspeed_exclusion_filter=a:0", "deepspeed_exclusion_filter", "a:0"),
    ("--deepspeed_inclusion_filter=a:1", "deepspeed_inclusion_filter", "a:1"),
    *[
        (f"--deepspeed_multinode_launcher={name}", "deepspeed_multinode_launcher", name)
        for name in ["pdsh", "standard", "openmpi", "mvapich", "mpich", "nossh", "slurm"]
    ],
    ("--aws_access_key_id=x", "aws_access_key_id", "x"),
    ("--aws_secret_access_key=x", "aws_secret_access_key", "x"),
    ("--mpirun_hostfile=hosts", "mpirun_hostfile", "hosts"),
    ("--quiet", "quiet", True),
    ("-q", "quiet", True),
    ("--module", "module", True),
    ("-m", "module", True),
    ("--no_python", "no_python", True),
    ("-t 3", "tee", "3"),
    ("--tee=0:1,1:3", "tee", "0:1,1:3"),
    ("--log_dir=logs", "log_dir", "logs"),
    ("--machine_rank=1", "machine_rank", 1),
    ("--rdzv_backend=etcd", "rdzv_backend", "etcd"),
]


@pytest.mark.parametrize(("flags", "name", "value"), VALUES)
def test_what_other_flags_set(settings: Resolve, flags: str, name: str, value: object) -> None:
    for spelling in (flags, " ".join(map(hyphens, flags.split()))):
        assert settings(*spelling.split()).value(name).value == value


# Keys that other engines act on, and what they set.
KEYS: list[tuple[str, str, object]] = [
    ("compute_environment: LOCAL_MACHINE", "compute_environment", "LOCAL_MACHINE"),
    ("distributed_type: TPU", "distributed_type", "XLA"),
    ("machine_rank: 1", "machine_rank", 1),
    ("num_machines: 2", "num_machines", 2),
    ("rdzv_backend: c10d", "rdzv_backend", "c10d"),
    ("same_network: true", "same_network", True),
    ("main_training_function: train", "main_training_function", "train"),
    ("downcast_bf16: 'yes'", "downcast_bf16", True),
    ("downcast_bf16: 'no'", "downcast_bf16", False),
    ("tpu_name: pod", "tpu_name", "pod"),
    ("tpu_zone: zone", "tpu_zone", "zone"),
    ("tpu_use_cluster: true", "tpu_cluster", True),
    ("tpu_use_sudo: true", "tpu_use_sudo", True),
    ("command_file: file", "command_file", "file"),
    ("commands: [a, b]", "commands", ("a", "b")),
    ("tpu_vm: [a]", "vm", ("a",)),
    ("tpu_env: [A=1]", "env", ("A=1",)),
    ("deepspeed_config: {deepspeed_hostfile: hosts}", "deepspeed_hostfile", "hosts"),
    ("deepspeed_config: {deepspeed_exclusion_filter: 'a:0'}", "deepspeed_exclusion_filter", "a:0"),
    ("deepspeed_config: {deepspeed_inclusion_filter: 'a:0'}", "deepspeed_inclusion_filter", "a:0"),
    ("deepspeed_config: {deepspeed_multinode_launcher: standard}", "deepspeed_multinode_launcher", "standard"),
    ("mpirun_config: {mpirun_hostfile: hosts}", "mpirun_hostfile", "hosts"),
    ("mpirun_config: {bind-to: core}", "mpirun_bind_to", "core"),
    ("compute_environment: AMAZON_SAGEMAKER", "compute_environment", "AMAZON_SAGEMAKER"),
    ("distributed_type: DATA_PARALLEL", "distributed_type", "DATA_PARALLEL"),
    ("distributed_type: MODEL_PARALLEL", "distributed_type", "MODEL_PARALLEL"),
    *[
        (f"{key}: Some/Text", key, "Some/Text")
        for key in [
            "ec2_instance_type",
            "iam_role_name",
            "image_uri",
            "profile",
            "region",
            "base_job_name",
            "pytorch_version",
            "transformers_version",
            "py_version",
            "sagemaker_inputs_file",
            "sagemaker_metrics_file",
        ]
    ],
    ("additional_args: {a: {b: c}}", "additional_args", {"a": {"b": "c"}}),
]


@pytest.mark.parametrize(("file", "name", "value"), KEYS)
def test_what_other_keys_set(settings: Resolve, file: str, name: str, value: object) -> None:
    found = settings(file=file).value(name)
    assert found.value == value
    assert found.origin.text.endswith("config.yaml:1")


def test_two_spellings_are_not_mixed_and_prefixes_are_refused(settings: Resolve) -> None:
    for flag in ("--mixed_precision-x=no", "--num-machines_=2", "--fsdp_cpu-ram-efficient_loading=true", "--mixed"):
        with pytest.raises(AccelError, match="isn't a flag of launch"):
            settings(flag)


@pytest.mark.parametrize(
    ("flag", "note"),
    [
        ("--ipex", "--ipex has no effect: the Intel extension"),
        ("--use_xpu", "--use_xpu has no effect: XPU devices are used automatically"),
        ("--mpirun_ccl=1", "--mpirun_ccl has no effect"),
        ("--fsdp_backward_prefetch_policy=NO_PREFETCH", "is now called --fsdp_backward_prefetch"),
    ],
)
def test_flags_of_older_documents_are_accepted_with_one_line(planned: Planned, flag: str, note: str) -> None:
    said = [line for line in planned(f"--use_fsdp {flag}").notes if flag.partition("=")[0] in line]
    assert len(said) == 1
    assert note in said[0]


DEEPSPEED_FILE = (
    "{distributed_type: DEEPSPEED, mixed_precision: bf16, deepspeed_config: {zero_stage: 3, "
    "offload_optimizer_device: nvme, offload_param_device: cpu, offload_optimizer_nvme_path: /A, "
    "offload_param_nvme_path: /B, gradient_accumulation_steps: 2, gradient_clipping: 1.0, "
    "zero3_save_16bit_model: true, zero3_init_flag: false, deepspeed_moe_layer_cls_names: Moe}}"
)

# Sections 2.2 to 2.6: a file, and what the script is told, or None: it isn't told that.
FILES: list[tuple[str, dict[str, str | None]]] = [
    # 2.2
    ("mixed_precision: bf16", {"ACCELERATE_MIXED_PRECISION": "bf16"}),
    ("mixed_precision: null", {"ACCELERATE_MIXED_PRECISION": "no"}),
    ("use_cpu: true", {"ACCELERATE_USE_CPU": "True"}),
    ("debug: true", {"ACCELERATE_DEBUG_MODE": "true", "TORCH_DISTRIBUTED_DEBUG": "INFO"}),
    ("debug: false", {"ACCELERATE_DEBUG_MODE": None}),
    ("enable_cpu_affinity: true", {"ACCELERATE_CPU_AFFINITY": "1"}),
    ("enable_cpu_affinity: false", {"ACCELERATE_CPU_AFFINITY": None}),
    # 2.3
    ("distributed_type: 'NO'", {"RANK": None, "ACCELERATE_USE_CPU": "False"}),
    ("{distributed_type: MULTI_CPU, num_processes: 2}", {"ACCELERATE_USE_CPU": "True", "WORLD_SIZE": "2"}),
    ("{distributed_type: MULTI_GPU, num_processes: 4}", {"WORLD_SIZE": "4", "MASTER_ADDR": "127.0.0.1"}),
    ("distributed_type: FSDP", {"ACCELERATE_USE_FSDP": "true", "WORLD_SIZE": "8"}),
    ("distributed_type: DEEPSPEED", {"ACCELERATE_USE_DEEPSPEED": "true", "WORLD_SIZE": "8"}),
    ("distributed_type: MEGATRON_LM", {"ACCELERATE_USE_MEGATRON_LM": "true", "WORLD_SIZE": "8"}),
    ("num_processes: -1", {"WORLD_SIZE": "8"}),
    ("gpu_ids: 3", {"CUDA_VISIBLE_DEVICES": "3"}),
    ("gpu_ids: [1, 2]", {"CUDA_VISIBLE_DEVICES": "1,2"}),
    ("gpu_ids: all", {"CUDA_VISIBLE_DEVICES": None, "WORLD_SIZE": "8"}),
    ("main_process_ip: 10.1.1.1", {"MASTER_ADDR": "10.1.1.1"}),
    ("main_process_port: 4321", {"MASTER_PORT": "4321"}),
    # 2.4.1
    (
        DEEPSPEED_FILE,
        {
            "ACCELERATE_DEEPSPEED_ZERO_STAGE": "3",
            "ACCELERATE_DEEPSPEED_OFFLOAD_OPTIMIZER_DEVICE": "nvme",
            "ACCELERATE_DEEPSPEED_OFFLOAD_PARAM_DEVICE": "cpu",
            "ACCELERATE_DEEPSPEED_OFFLOAD_OPTIMIZER_NVME_PATH": "/A",
            "ACCELERATE_DEEPSPEED_OFFLOAD_PARAM_NVME_PATH": "/B",
            "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "2",
            "ACCELERATE_GRADIENT_CLIPPING": "1.0",
            "ACCELERATE_DEEPSPEED_ZERO3_SAVE_16BIT_MODEL": "true",
            "ACCELERATE_DEEPSPEED_ZERO3_INIT": "false",
            "ACCELERATE_DEEPSPEED_MOE_LAYER_CLS_NAMES": "Moe",
        },
    ),
    ("{distributed_type: DEEPSPEED, deepspeed_config: {gradient_clipping: auto, deepspeed_config_file: none}}",
     {"ACCELERATE_GRADIENT_CLIPPING": None, "ACCELERATE_DEEPSPEED_CONFIG_FILE": None}),
    # 2.4.2, with and without prefix
    *[
        ("{distributed_type: FSDP, fsdp_config: {%s%s: %s}}" % (prefix, key, given), {variable: told})  # noqa: UP031
        for prefix in ("fsdp_", "")
        for key, given, variable, told in [
            ("version", "2", "FSDP_VERSION", "2"),
            ("sharding_strategy", "2", "FSDP_SHARDING_STRATEGY", "SHARD_GRAD_OP"),
            ("reshard_after_forward", "HYBRID_SHARD", "FSDP_SHARDING_STRATEGY", "HYBRID_SHARD"),
            ("offload_params", "true", "FSDP_OFFLOAD_PARAMS", "true"),
            ("auto_wrap_policy", "SIZE_BASED_WRAP", "FSDP_AUTO_WRAP_POLICY", "SIZE_BASED_WRAP"),
            ("transformer_layer_cls_to_wrap", "[A, B]", "FSDP_TRANSFORMER_CLS_TO_WRAP", "A,B"),
            ("min_num_params", "2000", "FSDP_MIN_NUM_PARAMS", "2000"),
            ("backward_prefetch", "BACKWARD_PRE", "FSDP_BACKWARD_PREFETCH", "BACKWARD_PRE"),
            ("backward_prefetch_policy", "BACKWARD_POST", "FSDP_BACKWARD_PREFETCH", "BACKWARD_POST"),
            ("state_dict_type", "LOCAL_STATE_DICT", "FSDP_STATE_DICT_TYPE", "LOCAL_STATE_DICT"),
            ("forward_prefetch", "true", "FSDP_FORWARD_PREFETCH", "true"),
            ("use_orig_params", "false", "FSDP_USE_ORIG_PARAMS", "false"),
            ("cpu_ram_efficient_loading", "false", "FSDP_CPU_RAM_EFFICIENT_LOADING", "false"),
            ("sync_module_states", "true", "FSDP_SYNC_MODULE_STATES", "true"),
            ("activation_checkpointing", "true", "FSDP_ACTIVATION_CHECKPOINTING", "true"),
            ("ignored_modules", "'.*head'", "FSDP_IGNORED_MODULES", ".*head"),
        ]
    ],
    ("{distributed_type: FSDP, fsdp_config: {fsdp_ignored_modules: null}}", {"FSDP_IGNORED_MODULES": None}),
    ("{distributed_type: FSDP, fsdp_config: null}", {"FSDP_VERSION": "1"}),
    # 2.4.3
    *[
        ("dynamo_config: {%s%s: %s}" % (prefix, key, given), {f"ACCELERATE_DYNAMO_{key.upper()}": told})  # noqa: UP031
        for prefix in ("dynamo_", "")
        for key, given, told in [
            ("backend", "INDUCTOR", "INDUCTOR"),
            ("mode", "max-autotune", "max-autotune"),
            ("use_fullgraph", "true", "True"),
            ("use_dynamic", "false", "False"),
            ("use_regional_compilation", "true", "True"),
        ]
    ],
    ("{distributed_type: DEEPSPEED, dynamo_config: {dynamo_backend: INDUCTOR}}", {"ACCELERATE_DYNAMO_BACKEND": "INDUCTOR"}),
    # 2.4.4, with and without prefix
    *[
        ("{distributed_type: MEGATRON_LM, megatron_lm_config: {%s%s: %s}}" % (prefix, key, given), {f"MEGATRON_LM_{key.upper()}": told})  # noqa: UP031
        for prefix in ("megatron_lm_", "")
        for key, given, told in [
            ("tp_degree", "2", "2"),
            ("sequence_parallelism", "true", "true"),
            ("pp_degree", "2", "2"),
            ("num_micro_batches", "2", "2"),
            ("recompute_activations", "true", "true"),
            ("use_distributed_optimizer", "true", "true"),
            ("gradient_clipping", "1.0", "1.0"),
            ("no_load_optim", "false", "False"),
        ]
    ],
    # 2.4.5, with and without prefix, and the wizard's own words
    *[
        ("{mixed_precision: fp8, fp8_config: {%s%s: %s}}" % (prefix, key, given), {f"ACCELERATE_FP8_{variable}": told})  # noqa: UP031
        for prefix in ("fp8_", "")
        for key, given, variable, told in [
            ("backend", "TE", "BACKEND", "TE"),
            ("backend", "ao", "BACKEND", "AO"),
            ("use_autocast_during_eval", "true", "USE_AUTOCAST_DURING_EVAL", "True"),
            ("margin", "1", "MARGIN", "1"),
            ("interval", "2", "INTERVAL", "2"),
            ("format", "E5M2", "FORMAT", "E5M2"),
            ("amax_history_len", "8", "AMAX_HISTORY_LEN", "8"),
            ("amax_history_length", "8", "AMAX_HISTORY_LEN", "8"),
            ("amax_compute_algo", "max", "AMAX_COMPUTE_ALGO", "max"),
            ("amax_compute_algorithm", "max", "AMAX_COMPUTE_ALGO", "max"),
            ("override_linear_precision", "[true, false, false]", "OVERRIDE_FPROP", "True"),
            ("override_linear_precision", "'(false, false, true)'", "OVERRIDE_WGRAD", "True"),
            ("opt_level", "O1", "OPT_LEVEL", "O1"),
            ("optimization_level", "O1", "OPT_LEVEL", "O1"),
            ("enable_fsdp_float8_all_gather", "false", "ENABLE_FSDP_FLOAT8_ALL_GATHER", "False"),
            ("pad_inner_dim", "false", "PAD_INNER_DIM", "False"),
            ("use_mxfp8_block_scaling", "true", "USE_MXFP8_BLOCK_SCALING", "True"),
        ]
    ],
    ("fp8_config: {backend: TE}", {"ACCELERATE_FP8_BACKEND": None}),
    # 2.4.6, with and without prefix
    *[
        ("{distributed_type: FSDP, num_processes: 8, fsdp_config: {fsdp_version: 2}, parallelism_config: {%s%s: %s}}" % (prefix, key, given), {"ACCELERATE_USE_PARALLELISM_CONFIG": "true", f"PARALLELISM_CONFIG_{key.upper()}": given})  # noqa: UP031
        for prefix in ("parallelism_config_", "")
        for key, given in [("dp_shard_size", "8"), ("tp_size", "4"), ("cp_size", "2"), ("dp_replicate_size", "2")]
    ],
    ("{distributed_type: FSDP, fsdp_config: {fsdp_version: 2}, parallelism_config: {}}", {"ACCELERATE_USE_PARALLELISM_CONFIG": None}),
    # 2.6
    ("fp16: true", {"ACCELERATE_MIXED_PRECISION": "fp16"}),
    ("fp16: false", {"ACCELERATE_MIXED_PRECISION": "no"}),
    ("{fp16: true, mixed_precision: bf16}", {"ACCELERATE_MIXED_PRECISION": "bf16"}),
    ("dynamo_backend: INDUCTOR", {"ACCELERATE_DYNAMO_BACKEND": "INDUCTOR"}),
    ("dynamo_backend: NO", {"ACCELERATE_DYNAMO_BACKEND": "NO"}),
    ("dynamo_config: null", {"ACCELERATE_DYNAMO_BACKEND": "NO"}),
    ("downcast_bf16: no", {"ACCELERATE_DOWNCAST_BF16": None}),
    ("mixed_precision: no", {"ACCELERATE_MIXED_PRECISION": "no"}),
    ("distributed_type: NO", {"RANK": None}),
    ("ipex_config: {ipex: true, use_xpu: false}", {"ACCELERATE_MIXED_PRECISION": "no"}),
    ("tp_config: {tp_size: 2}", {"PARALLELISM_CONFIG_TP_SIZE": None}),
    ("mpirun_config: {mpirun_ccl: 1}", {"CCL_WORKER_COUNT": None}),
]  # fmt: skip


@pytest.mark.parametrize(("file", "told"), FILES, ids=[file for file, _ in FILES])
def test_files(planned: Planned, file: str, told: dict[str, str | None]) -> None:
    on = host(8, probe=Still(modules=("torch", "deepspeed", "megatron", "torchao", "transformer_engine")))
    env = planned(file=file, on=on).commands[0].env
    assert {name: env.get(name) for name in told} == told


@pytest.mark.parametrize(
    "key", ["ipex_config: {ipex: true}", "tp_config: {tp_size: 2}", "mpirun_config: {mpirun_ccl: 1}"]
)
def test_keys_that_are_gone_are_noted(planned: Planned, key: str) -> None:
    assert any("config.yaml:1" in note and "has no effect" in note for note in planned(file=key).notes)


def test_placement_keys_of_a_file_reach_the_agent(planned: Planned) -> None:
    file = """{distributed_type: MULTI_GPU, num_machines: 2, num_processes: 4, machine_rank: 1, main_process_ip: 10.0.0.1,
        main_process_port: 2000, rdzv_backend: c10d, same_network: true}"""
    words = planned(file=file).commands[0].argv
    assert {"--nnodes=2", "--nproc-per-node=2", "--node-rank=1", "--rdzv-backend=c10d"} <= set(words)
    assert "--rdzv-endpoint=10.0.0.1:2000" in words


# Section 3: all that a script is told beyond torchrun's own, by paradigm.
ALWAYS = {
    "ACCELERATE_MIXED_PRECISION": "no",
    "ACCELERATE_DYNAMO_BACKEND": "NO",
    "ACCELERATE_DYNAMO_MODE": "default",
    "ACCELERATE_DYNAMO_USE_FULLGRAPH": "False",
    "ACCELERATE_DYNAMO_USE_REGIONAL_COMPILATION": "False",
    "OMP_NUM_THREADS": "1",
}
FSDP_TOLD = {
    "ACCELERATE_USE_FSDP": "true",
    "ACCELERATE_USE_CPU": "False",
    "FSDP_VERSION": "1",
    "FSDP_SHARDING_STRATEGY": "FULL_SHARD",
    "FSDP_RESHARD_AFTER_FORWARD": "true",
    "FSDP_OFFLOAD_PARAMS": "false",
    "FSDP_MIN_NUM_PARAMS": "100000000",
    "FSDP_STATE_DICT_TYPE": "FULL_STATE_DICT",
    "FSDP_FORWARD_PREFETCH": "false",
    "FSDP_USE_ORIG_PARAMS": "true",
    "FSDP_CPU_RAM_EFFICIENT_LOADING": "true",
    "FSDP_SYNC_MODULE_STATES": "true",
    "FSDP_ACTIVATION_CHECKPOINTING": "false",
    "FSDP_ACTIVATION_CHECKPOINTING_OFFLOAD": "false",
}
FP8_TOLD = {
    "ACCELERATE_MIXED_PRECISION": "fp8",
    "ACCELERATE_FP8_USE_AUTOCAST_DURING_EVAL": "False",
    "ACCELERATE_FP8_MARGIN": "0",
    "ACCELERATE_FP8_INTERVAL": "1",
    "ACCELERATE_FP8_FORMAT": "HYBRID",
    "ACCELERATE_FP8_AMAX_HISTORY_LEN": "1024",
    "ACCELERATE_FP8_AMAX_COMPUTE_ALGO": "most_recent",
    "ACCELERATE_FP8_OVERRIDE_FPROP": "False",
    "ACCELERATE_FP8_OVERRIDE_DGRAD": "False",
    "ACCELERATE_FP8_OVERRIDE_WGRAD": "False",
    "ACCELERATE_FP8_OPT_LEVEL": "O2",
    "ACCELERATE_FP8_ENABLE_FSDP_FLOAT8_ALL_GATHER": "True",
    "ACCELERATE_FP8_PAD_INNER_DIM": "True",
}
MEGATRON_TOLD = {
    "ACCELERATE_USE_MEGATRON_LM": "true",
    **{
        f"MEGATRON_LM_{name}": text
        for name, text in (
            pair.split("=")
            for pair in [
                "TP_DEGREE=1",
                "PP_DEGREE=1",
                "CONTEXT_PARALLEL_SIZE=1",
                "GRADIENT_CLIPPING=1.0",
                "USE_CUSTOM_FSDP=False",
                "NO_LOAD_OPTIM=False",
                "NO_SAVE_OPTIM=False",
                "EOD_MASK_LOSS=False",
                "OPTIMIZER_CPU_OFFLOAD=False",
                "OVERLAP_CPU_OPTIMIZER_D2H_H2D=False",
                "USE_PRECISION_AWARE_OPTIMIZER=False",
            ]
        )
    },
}
SIZES_TOLD = {
    "ACCELERATE_USE_PARALLELISM_CONFIG": "true",
    "PARALLELISM_CONFIG_DP_REPLICATE_SIZE": "1",
    "PARALLELISM_CONFIG_DP_SHARD_SIZE": "2",
    "PARALLELISM_CONFIG_TP_SIZE": "4",
    "PARALLELISM_CONFIG_CP_SIZE": "1",
    "PARALLELISM_CONFIG_CP_BACKEND": "torch",
    "PARALLELISM_CONFIG_SP_SIZE": "1",
    "PARALLELISM_CONFIG_SP_BACKEND": "deepspeed",
}
V2 = {"FSDP_VERSION": "2", "FSDP_STATE_DICT_TYPE": "SHARDED_STATE_DICT"}


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ("--num_processes=1", {**ALWAYS, "ACCELERATE_USE_CPU": "False", "OMP_NUM_THREADS": "8"}),
        ("--num_processes=8", ALWAYS),
        ("--cpu --num_processes=8", {**ALWAYS, "ACCELERATE_USE_CPU": "True"}),
        ("--use_fsdp", {**ALWAYS, **FSDP_TOLD}),
        ("--use_fsdp --fsdp_version=2", {**ALWAYS, **FSDP_TOLD, **V2}),
        ("--use_megatron_lm", {**ALWAYS, **MEGATRON_TOLD}),
        ("--mixed_precision=fp8 --fp8_backend=ao", {**ALWAYS, **FP8_TOLD, "ACCELERATE_FP8_BACKEND": "AO"}),
        ("--use_fsdp --fsdp_version=2 --parallelism_config_tp_size=4", {**ALWAYS, **FSDP_TOLD, **V2, **SIZES_TOLD}),
        (
            "--use_deepspeed --zero_stage=2",
            {
                **ALWAYS,
                "ACCELERATE_USE_DEEPSPEED": "true",
                "ACCELERATE_CONFIG_DS_FIELDS": "",
                "ACCELERATE_DEEPSPEED_ZERO_STAGE": "2",
            },
        ),
    ],
)
def test_all_that_a_paradigm_is_told(planned: Planned, flags: str, told: dict[str, str]) -> None:
    own = ("RANK", "LOCAL_", "WORLD_", "GROUP_", "ROLE_", "MASTER_", "TORCH")
    for command in planned(flags).commands:
        env = {name: text for name, text in command.env.items() if not name.startswith(own)}
        env.pop("PYTHONPATH", None)
        assert env == told


def test_deepspeed_has_the_folder_last_and_the_fields_of_the_file(planned: Planned, tmp_path: Path) -> None:
    file = "{distributed_type: DEEPSPEED, mixed_precision: bf16, deepspeed_config: {zero_stage: 1, gradient_clipping: 1}}"
    env = planned(file=file, PYTHONPATH="/lib").commands[0].env
    assert env["PYTHONPATH"] == f"/lib:{tmp_path}"
    assert set(env["ACCELERATE_CONFIG_DS_FIELDS"].split(",")) == {
        "zero_stage",
        "gradient_clipping",
        "mixed_precision",
    }


@pytest.mark.parametrize(
    ("kind", "variable"),
    [
        ("XPU", "ZE_AFFINITY_MASK"),
        ("MLU", "MLU_VISIBLE_DEVICES"),
        ("SDAA", "SDAA_VISIBLE_DEVICES"),
        ("MUSA", "MUSA_VISIBLE_DEVICES"),
        ("NPU", "ASCEND_RT_VISIBLE_DEVICES"),
        ("HPU", "HABANA_VISIBLE_MODULES"),
        ("NEURON", "NEURON_RT_VISIBLE_CORES"),
        ("GPU", "CUDA_VISIBLE_DEVICES"),
    ],
)
def test_the_visibility_variable_of_each_vendor(planned: Planned, kind: str, variable: str) -> None:
    for flags in ("--gpu_ids=0,2", "--use_fsdp --gpu_ids=0,2", "--use_deepspeed --gpu_ids=0,2"):
        todo = planned(flags, on=host(gpus(4, kind)))
        assert {command.env[variable] for command in todo.commands} == {"0,2"}


def test_rtx_40_variables_that_the_user_set_are_kept(planned: Planned) -> None:
    cards = tuple(Device("GPU", str(n), model="NVIDIA GeForce RTX 4090") for n in range(2))
    env = planned(on=host(cards).replace(driver="535.1"), NCCL_IB_DISABLE="0").commands[0].env
    assert env["NCCL_P2P_DISABLE"] == "1"
    assert "NCCL_IB_DISABLE" not in env


def test_debug_leaves_the_users_own_word(planned: Planned) -> None:
    assert "TORCH_DISTRIBUTED_DEBUG" not in planned("--debug", TORCH_DISTRIBUTED_DEBUG="DETAIL").commands[0].env


# Section 4: dispatch and precedence.
@pytest.mark.parametrize(
    ("flags", "file", "engine", "commands", "mark"),
    [
        ("--use_deepspeed", None, "local", 8, "ACCELERATE_USE_DEEPSPEED"),
        ("--use_fsdp", None, "local", 8, "ACCELERATE_USE_FSDP"),
        ("--use_megatron_lm", None, "local", 8, "ACCELERATE_USE_MEGATRON_LM"),
        ("--multi_gpu --use_megatron_lm", None, "local", 8, "ACCELERATE_USE_MEGATRON_LM"),
        ("--multi_gpu", None, "local", 8, ""),
        ("--cpu", None, "exec", 1, ""),
        ("--num_processes=1", None, "exec", 1, ""),
        ("", "distributed_type: NO", "exec", 1, ""),
        ("", "{distributed_type: NO, num_processes: 4}", "exec", 1, ""),
        # A typed switch leaves nothing of the file's paradigm.
        ("--multi_gpu", "distributed_type: FSDP", "local", 8, ""),
        ("--use_fsdp", "distributed_type: DEEPSPEED", "local", 8, "ACCELERATE_USE_FSDP"),
        ("--cpu", "distributed_type: FSDP", "exec", 1, ""),
        ("--cpu", "{distributed_type: MULTI_GPU, num_processes: 2}", "local", 2, ""),
        ("--use_fsdp", "{distributed_type: NO, fsdp_config: {fsdp_version: 2}}", "local", 8, "ACCELERATE_USE_FSDP"),
    ],
)
def test_dispatch(planned: Planned, flags: str, file: str | None, engine: str, commands: int, mark: str) -> None:
    todo = planned(flags, file=file)
    assert (todo.engine, len(todo.commands)) == (engine, commands)
    marks = {
        name for name in todo.commands[0].env if name.startswith("ACCELERATE_USE_") and not name.endswith("_CPU")
    }
    assert marks == ({mark} if mark else set())


TYPED = (
    "{distributed_type: FSDP, fsdp_config: {fsdp_version: 2}, parallelism_config: {parallelism_config_tp_size: 4}}"
)


@pytest.mark.parametrize(
    ("flags", "in_force"), [("", True), ("--use_fsdp", True), ("--multi_gpu", False), ("--cpu", False)]
)
def test_sizes_of_a_file_stay_behind_with_its_paradigm(planned: Planned, flags: str, in_force: bool) -> None:
    assert ("PARALLELISM_CONFIG_TP_SIZE" in planned(flags, file=TYPED).commands[0].env) is in_force


@pytest.mark.parametrize(
    ("flags", "file", "environ", "variable", "text"),
    [
        ("--mixed_precision=fp16", "mixed_precision: bf16", {}, "ACCELERATE_MIXED_PRECISION", "fp16"),
        (
            "",
            "mixed_precision: bf16",
            {"ACCELERATE_LAUNCH_MIXED_PRECISION": "fp16"},
            "ACCELERATE_MIXED_PRECISION",
            "fp16",
        ),
        (
            "--mixed_precision=no",
            "",
            {"ACCELERATE_LAUNCH_MIXED_PRECISION": "fp16"},
            "ACCELERATE_MIXED_PRECISION",
            "no",
        ),
        ("--dynamo_mode=default", "dynamo_config: {mode: max-autotune}", {}, "ACCELERATE_DYNAMO_MODE", "default"),
        ("--use_fsdp --fsdp_version=1", "fsdp_config: {fsdp_version: 2}", {}, "FSDP_VERSION", "1"),
        ("--use_fsdp", "fsdp_config: {fsdp_version: 2}", {}, "FSDP_VERSION", "2"),
        ("", "debug: true", {}, "ACCELERATE_DEBUG_MODE", "true"),
        ("--cpu", "use_cpu: false", {}, "ACCELERATE_USE_CPU", "True"),
        # What scripts read is no input, and the launcher's word wins over the caller's.
        ("", None, {"ACCELERATE_MIXED_PRECISION": "fp16"}, "ACCELERATE_MIXED_PRECISION", "no"),
        ("--use_fsdp", None, {"FSDP_VERSION": "2"}, "FSDP_VERSION", "1"),
        ("--use_fsdp", None, {"FSDP_STATE_DICT_TYPE": "SHARDED_STATE_DICT"}, "FSDP_STATE_DICT_TYPE", None),
        ("--cpu", None, {"OMP_NUM_THREADS": "3"}, "OMP_NUM_THREADS", None),
        ("--cpu --num_cpu_threads_per_process=2", None, {"OMP_NUM_THREADS": "3"}, "OMP_NUM_THREADS", "2"),
    ],
)
def test_precedence(
    planned: Planned, flags: str, file: str | None, environ: dict[str, str], variable: str, text: str | None
) -> None:
    assert planned(flags, file=file, **environ).commands[0].env.get(variable) == text


# Section 6: what is refused, and what is named.
BARE = Still(modules=())


@pytest.mark.parametrize(
    ("flags", "file", "on", "parts"),
    [
        ("--nope", None, None, ["--nope isn't a flag"]),
        ("--mixed_precision=fp4", None, None, ["--mixed_precision: mixed_precision must be one of", "'fp4'"]),
        ("--num_processes=two", None, None, ["whole number"]),
        ("--num_processes=0", None, None, ["from 1 to 1000000"]),
        ("--dynamo_backend=foo", None, None, ["dynamo_backend must be one of"]),
        ("--multi_gpu --use_fsdp", None, None, ["--use_fsdp asks for FSDP and --multi_gpu for MULTI_GPU"]),
        ("--use_deepspeed --use_fsdp", None, None, ["--use_deepspeed", "--use_fsdp"]),
        ("--use_megatron_lm --use_fsdp", None, None, ["--use_megatron_lm", "--use_fsdp"]),
        ("--cpu --multi_gpu", None, None, ["--cpu", "--multi_gpu"]),
        ("--cpu --tpu", None, None, ["--cpu", "--tpu"]),
        ("--multi_gpu --num_processes=1", None, None, ["multi_gpu true (--multi_gpu)", "at least 2"]),
        ("--use_parallelism_config", None, None, ["needs FSDP version 2"]),
        ("--use_parallelism_config --use_fsdp", None, None, ["needs FSDP version 2"]),
        ("--use_parallelism_config --multi_gpu", None, None, ["needs FSDP version 2"]),
        ("--config_file=/no/such.yaml", None, None, ["--config_file: the config file /no/such.yaml doesn't exist"]),
        ("", "nope: 1", None, ["config.yaml:1: unknown key 'nope'; delete it, or choose one of those that `config schema` lists"]),
        ("", "distributed_type: NOPE", None, ["config.yaml:1: distributed_type must be one of"]),
        ("--gpu_ids=0 --multi_gpu", None, None, ["gpu_ids 0 (--gpu_ids) is one device"]),
        ("", "{distributed_type: MULTI_GPU, gpu_ids: '1'}", None, ["gpu_ids 1", "MULTI_GPU"]),
        ("-m --no_python", None, None, ["module true (-m) and no_python true (--no_python)"]),
        ("--num_machines=2 --num_processes=4 --machine_rank=0", None, None, ["give --main_process_ip"]),
        ("--num_machines=2 --num_processes=4 --main_process_ip=a --main_process_port=2000", None, None, ["give --machine_rank, from 0 to 1"]),
        ("--num_machines=2 --num_processes=4 --main_process_ip=a --machine_rank=0", None, None, ["give --main_process_port"]),
        (f"{AGENT} --machine_rank=2", None, None, ["machine_rank is 2", "from 0 to 1"]),
        (f"{AGENT} --main_process_ip=10.0.0.1:2000", None, None, ["main_process_ip 10.0.0.1:2000 (--main_process_ip) has a port"]),
        (f"{AGENT} --main_process_ip=10.0.0..1", None, None, ["isn't a valid address or host name"]),
        (f"{AGENT} --main_process_port=0", None, None, ["main_process_port 0 (--main_process_port)", "name one"]),
        (f"{AGENT} --machine_rank=0", None, host(8, probe=Still(busy=(2000,))), ["2000 (--main_process_port) is in use"]),
        (f"{AGENT} --rdzv_backend=C10D", None, None, ["rdzv_backend C10D (--rdzv_backend) isn't a rendezvous backend", "static or c10d"]),
        (AGENT, "{rdzv_backend: x}", None, ["rdzv_backend x (", "config.yaml:1) isn't a rendezvous backend of torch"]),
        (f"{AGENT} --rdzv_backend=etcd", None, None, ["rdzv_backend etcd (--rdzv_backend) needs python-etcd, which isn't installed for"]),
        (f"{AGENT} --num_processes=5", None, None, ["num_machines 2 (--num_machines): the machines can't share them evenly; make it 4 or 6"]),
        ("--gpu_ids=0,1 --num_processes=3", None, None, ["only 2 devices", "by gpu_ids (--gpu_ids)"]),
        ("--use_fsdp --fsdp_sync_module_states=false", None, None, ["fsdp_sync_module_states false"]),
        ("", "{distributed_type: FSDP, fsdp_config: {fsdp_sync_module_states: 'false'}}", None, ["config.yaml:1"]),
        ("", "{distributed_type: FSDP, fsdp_config: {fsdp_version: 3}}", None, ["fsdp_version must be one of 1, 2"]),
        ("", "fsdp_config: 3", None, ["fsdp_config must be a mapping"]),
        # Libraries.
        ("--use_fsdp", None, host(2, probe=BARE), ["FSDP (--use_fsdp) needs torch", "/py -m pip install ", "accel-launch[torch]'"]),
        ("--use_deepspeed", None, host(2, probe=Still(modules=("torch",))), ["needs deepspeed", "/py -m pip install ", "accel-launch[deepspeed]'"]),
        ("--use_megatron_lm", None, host(2, probe=Still(modules=("torch",))), ["needs Megatron-LM", "github.com/NVIDIA"]),
        ("--mixed_precision=fp8", None, host(2, probe=BARE), ["none is installed for /py", "[fp8-ao]'", "[fp8]'", "github.com/Azure/MS-AMP"]),
        ("--mixed_precision=fp8 --fp8_backend=te", None, host(2), ["fp8_backend TE (--fp8_backend) needs transformer-engine", "[fp8]'", "or give --fp8_backend AO"]),
        ("--mixed_precision=fp8 --fp8_backend=ao", None, host(2, probe=BARE), ["torchao", "[fp8-ao]'"]),
        ("--mixed_precision=fp8 --fp8_backend=msamp", None, host(2), ["MS-AMP", "github.com/Azure/MS-AMP"]),
        # Sizes.
        (f"{WIDE} --parallelism_config_tp_size=3", None, None, ["parallelism_config_tp_size 3", "make 3 ranks in all", "num_processes is 8 (--num_processes)"]),
        (f"{WIDE} --parallelism_config_tp_size=4 --parallelism_config_dp_shard_size=4", None, None, ["make 16 ranks in all"]),
        (f"{FSDP2} --parallelism_config_tp_size=3", None, None, ["num_processes is 8 (built in)"]),
        (f"{WIDE} --parallelism_config_tp_size=8", None, None, ["leave FSDP no ranks to shard over"]),
        (f"{DEEPSPEED} --parallelism_config_cp_size=2", None, None, ["parallelism_config_cp_size 2", "needs FSDP version 2"]),
        (f"{FSDP2} --parallelism_config_sp_size=2", None, None, ["parallelism_config_sp_size 2", "--use_deepspeed"]),
        (f"{DEEPSPEED} --parallelism_config_sp_size=2 --parallelism_config_sp_attn_implementation=eager", None, None, ["eager", "use sdpa"]),
        (f"{DEEPSPEED} --parallelism_config_sp_size=2 --parallelism_config_sp_seq_length_is_variable=false", None, None, ["--parallelism_config_sp_seq_length"]),
        (f"{MEGATRON} --num_processes=8 --megatron_lm_tp_degree=3", None, None, ["megatron_lm_tp_degree 3", "don't divide num_processes is 8"]),
    ],
)  # fmt: skip
def test_refused(planned: Planned, flags: str, file: str | None, on: Host | None, parts: list[str]) -> None:
    with pytest.raises(AccelError) as refusal:
        planned(flags, file=file, on=on)
    assert refusal.value.status == 2
    for part in parts:
        assert part in str(refusal.value)


@pytest.mark.parametrize(
    "flags",
    [
        "--use_fsdp", "--use_deepspeed", "--use_megatron_lm", "--mixed_precision=fp8", "--mixed_precision=fp8 --fp8_backend=te",
        "--use_fsdp --fsdp_version=2 --parallelism_config_tp_size=3",
    ],
)  # fmt: skip
def test_in_a_dry_run_what_this_machine_lacks_is_a_note(planned: Planned, flags: str) -> None:
    on = host(2, probe=BARE)
    with pytest.raises(AccelError):
        planned(flags, on=on)
    assert planned(f"{flags} --dry_run", on=on).notes


def test_a_jobs_libraries_are_not_looked_for_here(settings: Resolve) -> None:
    findings = Findings(lenient=False)
    file = "{compute_environment: AMAZON_SAGEMAKER, distributed_type: FSDP, mixed_precision: fp8}"
    job, machine = settings(file=file), host(probe=BARE)
    layout = lay_out(job, machine, findings)
    arrangement(job, machine, layout, findings)
    with pytest.raises(AccelError, match="needs torch"):
        arrangement(settings(file="{distributed_type: FSDP}"), machine, layout, findings)


def test_another_interpreter_has_what_it_has(planned: Planned) -> None:
    planned("--use_deepspeed --mixed_precision=fp8 --python=/other", on=host(2, probe=BARE))


def test_the_backend_that_is_found_first_is_named(planned: Planned) -> None:
    for modules, backend in (
        (("msamp", "torchao"), "AO"),
        (("msamp", "transformer_engine"), "TE"),
        (("msamp",), "MSAMP"),
    ):
        todo = planned("--mixed_precision=fp8", on=host(2, probe=Still(modules=modules)))
        assert any(f"fp8_backend isn't set: {backend}, the first of AO, TE, MSAMP" in note for note in todo.notes)
        assert "ACCELERATE_FP8_BACKEND" not in todo.commands[0].env


@pytest.mark.parametrize(
    ("flags", "environ", "note"),
    [
        (
            "--fsdp_version=2",
            {},
            "fsdp_version (--fsdp_version): no effect, since Fully sharded data parallel (FSDP) isn't",
        ),
        (
            "--zero_stage=2 --gradient_clipping=1",
            {},
            "zero_stage (--zero_stage), gradient_clipping (--gradient_clipping): no",
        ),
        (
            "",
            {"ACCELERATE_LAUNCH_FP8_BACKEND": "te"},
            "fp8_backend (ACCELERATE_LAUNCH_FP8_BACKEND): no effect, since FP8",
        ),
        ("--megatron_lm_tp_degree=2", {}, "since Megatron-LM isn't in use"),
        ("--aws_access_key_id=x", {}, "since Amazon SageMaker isn't in use"),
    ],
)
def test_typed_settings_of_another_paradigm_get_one_note(
    planned: Planned, flags: str, environ: dict[str, str], note: str
) -> None:
    assert [line for line in planned(flags, **environ).notes if "no effect, since" in line and note in line]


def test_a_file_may_hold_other_paradigms_in_silence(planned: Planned) -> None:
    file = "{num_processes: 2, fsdp_config: {fsdp_version: 2}, deepspeed_config: {zero_stage: 3}, fp8_config: {backend: TE}}"
    assert planned(file=file).notes == ()


# Section 7: the faults of the existing command that a plan can show; each with what is right.
@pytest.mark.parametrize(
    ("flags", "file", "told"),
    [
        ("", "enable_cpu_affinity: true", {"ACCELERATE_CPU_AFFINITY": "1"}),
        (f"{DEEPSPEED} --offload_param_nvme_path=/Nvme", None, {"ACCELERATE_DEEPSPEED_OFFLOAD_PARAM_NVME_PATH": "/Nvme"}),
        (f"{FP8} --fp8_backend=ao", None, {"ACCELERATE_FP8_BACKEND": "AO"}),
        ("", "{mixed_precision: fp8, fp8_config: {amax_history_length: 4, optimization_level: O1}}",
         {"ACCELERATE_FP8_AMAX_HISTORY_LEN": "4", "ACCELERATE_FP8_OPT_LEVEL": "O1", "ACCELERATE_FP8_OPTIMIZATION_LEVEL": None}),
        ("--dynamo_backend=inductor", None, {"ACCELERATE_DYNAMO_USE_DYNAMIC": None}),
        (f"{DEEPSPEED} --dynamo_backend=inductor", None, {"ACCELERATE_DYNAMO_BACKEND": "INDUCTOR", "OMP_NUM_THREADS": "1"}),
        (f"{MEGATRON} --megatron_lm_no_save_optim=false", None, {"MEGATRON_LM_NO_SAVE_OPTIM": "False"}),
        ("", "deepspeed_config: {num_processes: 3}", {"WORLD_SIZE": "8"}),
        ("", "{distributed_type: MEGATRON_LM, megatron_lm_config: {tp_degree: 2}}", {"MEGATRON_LM_TP_DEGREE": "2"}),
        (FSDP, "{fsdp_config: {fsdp_reshard_after_forward: SHARD_GRAD_OP}}", {"FSDP_SHARDING_STRATEGY": "SHARD_GRAD_OP"}),
        (FSDP, None, {"FSDP_STATE_DICT_TYPE": "FULL_STATE_DICT"}),
        (FSDP2, None, {"FSDP_STATE_DICT_TYPE": "SHARDED_STATE_DICT"}),
        (FSDP2, "{fsdp_config: {fsdp_sharding_strategy: SHARD_GRAD_OP}}", {"FSDP_RESHARD_AFTER_FORWARD": "false"}),
        ("--gpu_ids=0,3,5", None, {"WORLD_SIZE": "3"}),
        (MEGATRON, None, {"MEGATRON_LM_CONTEXT_PARALLEL_SIZE": "1"}),
        ("--cpu --num_processes=3", None, {"WORLD_SIZE": "3", "ACCELERATE_USE_CPU": "True"}),
        ("--num_processes=2", "use_cpu: true", {"ACCELERATE_USE_CPU": "True", "WORLD_SIZE": "2"}),
    ],
)  # fmt: skip
def test_faults_not_repeated(planned: Planned, flags: str, file: str | None, told: dict[str, str | None]) -> None:
    env = planned(flags, file=file).commands[0].env
    assert {name: env.get(name) for name in told} == told


def test_variables_keep_their_letters(planned: Planned) -> None:
    """The existing command capitals them all, so that foo_bar overwrites FOO_BAR; ours adds its own and no more."""
    env = planned(foo_bar="1", FOO_BAR="2").commands[0].env
    assert not {"foo_bar", "FOO_BAR"} & set(env)


def test_no_flag_and_no_variable_is_without_a_row() -> None:
    """A setting that is added has to be added here too, unless it is one that the existing command doesn't have."""
    flags = " ".join(f"{context} {flag}" for context, flag, _told in FLAGS)
    flags += " " + " ".join([*(flag for flag, _name, _value in VALUES), AGENT])
    flags += (
        " --ipex --use_xpu --mpirun_ccl --config_file --rdzv_conf --max_restarts --monitor_interval --same_network"
    )
    told = {name for _context, _flag, told in FLAGS for name in told} | {
        name for _file, told in FILES for name in told
    }
    known = set(flags.replace("=", " ").split())
    others = {"distributed_type", "compute_environment", "tpu_name", "tpu_zone", "mpirun_bind_to", *ONLY_HERE}
    for one in CATALOGUE.settings:
        if one.flags and not one.ours and one.section is not SageMaker:
            assert f"--{one.name}" in known or one.name in others, one.name
        if one.name not in ("downcast_bf16", "deepspeed_config_file"):
            assert set(one.env) <= told, one.name
