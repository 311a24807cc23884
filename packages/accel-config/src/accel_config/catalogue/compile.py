"""Compiling the model with torch dynamo."""

from ..section import Section, plain, setting, upper

BACKENDS = (
    "no",
    "eager",
    "aot_eager",
    "inductor",
    "aot_ts_nvfuser",
    "nvprims_nvfuser",
    "cudagraphs",
    "ofi",
    "fx2trt",
    "onnxrt",
    "tensorrt",
    "aot_torchxla_trace_once",
    "torchxla_trace_once",
    "tvm",
    "hpu_backend",
    "neuron",
)


class Dynamo(Section, title="Torch dynamo", key="dynamo_config", prefix="dynamo_", scope="both"):
    """Compiling the model."""

    dynamo_backend: str = setting(
        "no",
        choices=BACKENDS,
        renamed={"torhchxla_trace_once": "torchxla_trace_once", "false": "no"},
        env="ACCELERATE_DYNAMO_BACKEND",
        form=upper,
        gate="Do you wish to compile the model with torch dynamo?",
        offered=lambda _settings: BACKENDS[1:],
        ask="Which dynamo backend would you like to use?",
        ask_default="inductor",
        help="What compiles the model; no: nothing does.",
    )
    dynamo_mode: str = setting(
        "default",
        choices=("default", "reduce-overhead", "max-autotune"),
        env="ACCELERATE_DYNAMO_MODE",
        gate="Do you want to customize how it is compiled?",
        asked=lambda settings: settings.given("dynamo_backend"),
        ask="Which mode do you want to use?",
        help="What the compiler optimizes for.",
    )
    dynamo_use_fullgraph: bool = setting(
        False,
        switch=True,
        env="ACCELERATE_DYNAMO_USE_FULLGRAPH",
        form=plain,
        asked=lambda settings: settings.given("dynamo_mode"),
        ask="Do you want to use full graph mode?",
        help="Compile the whole model as one graph, or fail.",
    )
    dynamo_use_dynamic: bool | None = setting(
        switch=True,
        env="ACCELERATE_DYNAMO_USE_DYNAMIC",
        form=plain,
        asked=lambda settings: settings.given("dynamo_mode"),
        ask="Do you want to enable dynamic shape tracing?",
        help="Compile for shapes that vary (or, with =false, for fixed ones). Unset: torch decides.",
    )
    dynamo_use_regional_compilation: bool = setting(
        False,
        switch=True,
        env="ACCELERATE_DYNAMO_USE_REGIONAL_COMPILATION",
        form=plain,
        asked=lambda settings: settings.given("dynamo_mode"),
        ask="Do you want to compile repeated blocks once (regional compilation)?",
        help="Compile a repeated block once and use it for all of them.",
    )
