"""In which number format to train."""

from ..section import Section, plain, setting, upper

PRECISIONS = ("no", "fp16", "bf16", "fp8")

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..settings import Settings


def _open(settings: "Settings") -> bool:
    return settings.value("deepspeed_config_file").value is None


class Precision(Section, title="Mixed precision", scope="both"):
    """The format of the computation."""

    mixed_precision: str = setting(
        "no",
        choices=PRECISIONS,
        env="ACCELERATE_MIXED_PRECISION",
        renamed={"false": "no"},
        # DeepSpeed's own configuration decides it, and a TPU computes in nothing smaller than bfloat16.
        asked=_open,
        file_default=lambda settings: PRECISIONS[0] if _open(settings) else None,
        offered=lambda settings: PRECISIONS[::2] if settings.paradigm.kind == "XLA" else PRECISIONS,
        ask="Do you wish to use mixed precision?",
        help="Compute in this format while weights stay in full precision.",
    )


def _with(backend: str) -> "Callable[[Settings], bool]":
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
        labels={"AO": "torchao", "TE": "Transformer Engine", "MSAMP": "MS-AMP"},
        ask_default="AO",
        ask="Which FP8 backend do you want to use?",
        help="torchao, Transformer Engine or MS-AMP. Unset: the first of these that is installed.",
    )
    fp8_use_autocast_during_eval: bool = setting(
        False,
        switch=True,
        key="use_autocast_during_eval",
        env="ACCELERATE_FP8_USE_AUTOCAST_DURING_EVAL",
        form=plain,
        asked=_with("TE"),
        ask="Do you want to use FP8 autocast during evaluation?",
        help="Compute in FP8 in evaluation too (Transformer Engine). Metrics are usually better without.",
    )
    fp8_margin: int = setting(
        0,
        key="margin",
        env="ACCELERATE_FP8_MARGIN",
        asked=_with("TE"),
        ask="What margin should be used for gradient scaling?",
        help="Margin of the scaling factor (Transformer Engine).",
    )
    fp8_interval: int = setting(
        1,
        minimum=1,
        key="interval",
        env="ACCELERATE_FP8_INTERVAL",
        asked=_with("TE"),
        ask="Every how many steps should the scaling factor be recomputed?",
        help="Steps between two computations of the scaling factor (Transformer Engine).",
    )
    fp8_format: str = setting(
        "HYBRID",
        key="fp8_format",
        choices=("HYBRID", "E4M3", "E5M2"),
        env="ACCELERATE_FP8_FORMAT",
        asked=_with("TE"),
        ask="Which FP8 format should be used?",
        help="Format of the recipe (Transformer Engine): HYBRID is E4M3 forward and E5M2 backward.",
    )
    fp8_amax_history_len: int = setting(
        1024,
        minimum=1,
        key="amax_history_len",
        old_keys=("amax_history_length",),
        env="ACCELERATE_FP8_AMAX_HISTORY_LEN",
        asked=_with("TE"),
        ask="How many steps of history should the scaling factor be computed from?",
        help="Length of the history of largest values that the scaling factor is computed from (Transformer Engine).",
    )
    fp8_amax_compute_algo: str = setting(
        "most_recent",
        choices=("max", "most_recent"),
        key="amax_compute_algo",
        old_keys=("amax_compute_algorithm",),
        env="ACCELERATE_FP8_AMAX_COMPUTE_ALGO",
        asked=_with("TE"),
        ask="Which algorithm should compute the scaling factor?",
        ask_default="max",
        help="How the scaling factor follows from that history (Transformer Engine).",
    )
    fp8_override_linear_precision: tuple[bool, ...] = setting(
        (False, False, False),
        key="override_linear_precision",
        env=("ACCELERATE_FP8_OVERRIDE_FPROP", "ACCELERATE_FP8_OVERRIDE_DGRAD", "ACCELERATE_FP8_OVERRIDE_WGRAD"),
        form=plain,
        asked=_with("TE"),
        labels={0: "forward (fprop)", 1: "data gradient (dgrad)", 2: "weight gradient (wgrad)"},
        ask="Which products should run in higher precision?",
        help="Three booleans: run the fprop, dgrad and wgrad products in higher precision (Transformer Engine).",
    )
    fp8_opt_level: str = setting(
        "O2",
        choices=("O1", "O2"),
        key="opt_level",
        old_keys=("optimization_level",),
        env="ACCELERATE_FP8_OPT_LEVEL",
        asked=_with("MSAMP"),
        ask="Which optimization level should MS-AMP use?",
        help="How much MS-AMP keeps in 8 bits: O1 gradients and their communication, O2 optimizer states too.",
    )
    fp8_enable_fsdp_float8_all_gather: bool = setting(
        True,
        key="enable_fsdp_float8_all_gather",
        env="ACCELERATE_FP8_ENABLE_FSDP_FLOAT8_ALL_GATHER",
        form=plain,
        asked=_with("AO"),
        ask="Should FSDP gather parameters in FP8?",
        help="Gather FSDP's parameters in 8 bits (torchao).",
    )
    fp8_pad_inner_dim: bool = setting(
        True,
        key="pad_inner_dim",
        env="ACCELERATE_FP8_PAD_INNER_DIM",
        form=plain,
        asked=_with("AO"),
        ask="Should the inner dimension of products be padded to what FP8 needs?",
        help="Pad the inner dimension of products to a multiple of 16 (torchao).",
    )
    fp8_use_mxfp8_block_scaling: bool | None = setting(
        key="use_mxfp8_block_scaling",
        env="ACCELERATE_FP8_USE_MXFP8_BLOCK_SCALING",
        form=plain,
        help="Scale in blocks, as MXFP8 does (Transformer Engine on devices that have it).",
    )
