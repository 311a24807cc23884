"""The number format of the training."""

from accel_config.settings.declaration import Section, setting
from accel_config.settings.forms import upper
from accel_config.settings.paradigm import paradigm
from accel_config.settings.question import Question

PRECISIONS = ("no", "fp16", "bf16", "fp8")

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from accel_config.settings.values import Values


def _open(settings: "Values") -> bool:
    return settings.value("deepspeed_config_file").value is None


class Precision(Section, title="Mixed precision", scope="both"):
    """The number format of the computation."""

    mixed_precision: str = setting(
        "no",
        choices=PRECISIONS,
        env="ACCELERATE_MIXED_PRECISION",
        renamed={"false": "no"},
        common=True,
        help="Number format to compute in; weights stay in full precision.",
        ask=Question(
            "Do you want to use mixed precision?",
            default=lambda settings, machine: "bf16" if paradigm(settings).kind == "FSDP" and machine.bf16 else None,
            # DeepSpeed's own configuration decides it, and a TPU computes in nothing smaller than bfloat16.
            when=_open,
            offered=lambda settings: PRECISIONS[::2] if paradigm(settings).kind == "XLA" else PRECISIONS,
            unasked=lambda settings: PRECISIONS[0] if _open(settings) else None,
        ),
    )


def _with(backend: str) -> "Callable[[Values], bool]":
    return lambda settings: settings[Fp8].fp8_backend == backend


class Fp8(
    Section,
    title="FP8",
    key="fp8_config",
    prefix="fp8_",
    active=lambda settings: settings[Precision].mixed_precision == "fp8",
    asked=lambda settings: settings[Precision].mixed_precision == "fp8",
):
    """Training in 8-bit floating point, in force with ``mixed_precision: fp8``."""

    fp8_backend: str | None = setting(
        key="backend",
        choices=("AO", "TE", "MSAMP"),
        env="ACCELERATE_FP8_BACKEND",
        form=upper,
        default_text="the first of these that is installed",
        help="FP8 library: AO is torchao, TE is Transformer Engine, MSAMP is MS-AMP.",
        ask=Question(
            "Which FP8 backend do you want to use?",
            default="AO",
            labels={"AO": "torchao", "TE": "Transformer Engine", "MSAMP": "MS-AMP"},
        ),
    )
    fp8_use_autocast_during_eval: bool = setting(
        False,
        switch=True,
        key="use_autocast_during_eval",
        env="ACCELERATE_FP8_USE_AUTOCAST_DURING_EVAL",
        form=str,
        help="Compute in FP8 during evaluation too (Transformer Engine). Metrics are usually better without it.",
        ask=Question("Do you want to use FP8 autocast during evaluation?", when=_with("TE")),
    )
    fp8_margin: int = setting(
        0,
        key="margin",
        env="ACCELERATE_FP8_MARGIN",
        help="Margin of the scaling factor (Transformer Engine).",
        ask=Question("What margin should be used for gradient scaling?", when=_with("TE")),
    )
    fp8_interval: int = setting(
        1,
        minimum=1,
        key="interval",
        env="ACCELERATE_FP8_INTERVAL",
        help="Steps between two computations of the scaling factor (Transformer Engine).",
        ask=Question("After how many steps should the scaling factor be recomputed?", when=_with("TE")),
    )
    fp8_format: str = setting(
        "HYBRID",
        key="fp8_format",
        choices=("HYBRID", "E4M3", "E5M2"),
        env="ACCELERATE_FP8_FORMAT",
        help="Format of the recipe (Transformer Engine): HYBRID is E4M3 forward and E5M2 backward.",
        ask=Question("Which FP8 format should be used?", when=_with("TE")),
    )
    fp8_amax_history_len: int = setting(
        1024,
        minimum=1,
        key="amax_history_len",
        old_keys=("amax_history_length",),
        env="ACCELERATE_FP8_AMAX_HISTORY_LEN",
        help="Steps of history of the largest values, from which the scaling factor is computed "
        "(Transformer Engine).",
        ask=Question("How many steps of history should the scaling factor use?", when=_with("TE")),
    )
    fp8_amax_compute_algo: str = setting(
        "most_recent",
        choices=("max", "most_recent"),
        key="amax_compute_algo",
        old_keys=("amax_compute_algorithm",),
        env="ACCELERATE_FP8_AMAX_COMPUTE_ALGO",
        help="How the scaling factor is computed from that history (Transformer Engine).",
        ask=Question(
            "Which algorithm should compute the scaling factor?",
            default="max",
            when=_with("TE"),
        ),
    )
    fp8_override_linear_precision: tuple[bool, ...] = setting(
        (False, False, False),
        key="override_linear_precision",
        env=("ACCELERATE_FP8_OVERRIDE_FPROP", "ACCELERATE_FP8_OVERRIDE_DGRAD", "ACCELERATE_FP8_OVERRIDE_WGRAD"),
        form=str,
        help="Run the fprop, dgrad and wgrad products in higher precision: three booleans (Transformer Engine).",
        ask=Question(
            "Which products should run in higher precision?",
            when=_with("TE"),
            labels={0: "forward (fprop)", 1: "data gradient (dgrad)", 2: "weight gradient (wgrad)"},
        ),
    )
    fp8_opt_level: str = setting(
        "O2",
        choices=("O1", "O2"),
        key="opt_level",
        old_keys=("optimization_level",),
        env="ACCELERATE_FP8_OPT_LEVEL",
        help="What MS-AMP keeps in 8 bits: O1 gradients and their communication, O2 also optimizer states.",
        ask=Question("Which optimization level should MS-AMP use?", when=_with("MSAMP")),
    )
    fp8_enable_fsdp_float8_all_gather: bool = setting(
        True,
        key="enable_fsdp_float8_all_gather",
        env="ACCELERATE_FP8_ENABLE_FSDP_FLOAT8_ALL_GATHER",
        form=str,
        help="Gather FSDP's parameters in 8 bits (torchao).",
        ask=Question("Should FSDP gather parameters in FP8?", when=_with("AO")),
    )
    fp8_pad_inner_dim: bool = setting(
        True,
        key="pad_inner_dim",
        env="ACCELERATE_FP8_PAD_INNER_DIM",
        form=str,
        help="Pad the inner dimension of products to a multiple of 16 (torchao).",
        ask=Question("Should the inner dimension of products be padded, as FP8 requires?", when=_with("AO")),
    )
    fp8_use_mxfp8_block_scaling: bool | None = setting(
        key="use_mxfp8_block_scaling",
        env="ACCELERATE_FP8_USE_MXFP8_BLOCK_SCALING",
        form=str,
        help="Scale in blocks, as MXFP8 does (Transformer Engine, on devices that support it).",
    )
