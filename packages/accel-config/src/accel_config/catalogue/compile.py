"""Compilation of the model with torch dynamo."""

from accel_config.settings.declaration import Section, setting
from accel_config.settings.forms import upper
from accel_config.settings.question import Question

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
    """Compilation of the model with `torch.compile`."""

    dynamo_backend: str = setting(
        "no",
        choices=BACKENDS,
        renamed={"torhchxla_trace_once": "torchxla_trace_once", "false": "no"},
        env="ACCELERATE_DYNAMO_BACKEND",
        form=upper,
        help="`torch.compile` backend; `no` disables it.",
        ask=Question(
            "Which dynamo backend do you want to use?",
            default="inductor",
            offered=lambda _settings: BACKENDS[1:],
            gate="Do you want to compile the model with torch dynamo?",
        ),
    )
    dynamo_mode: str = setting(
        "default",
        choices=("default", "reduce-overhead", "max-autotune"),
        env="ACCELERATE_DYNAMO_MODE",
        help="What the compiler optimizes for.",
        ask=Question(
            "Which mode do you want to use?",
            when=lambda settings: settings.given("dynamo_backend"),
            gate="Do you want to customize the compilation?",
        ),
    )
    dynamo_use_fullgraph: bool = setting(
        False,
        switch=True,
        env="ACCELERATE_DYNAMO_USE_FULLGRAPH",
        form=str,
        help="Compile the whole model as one graph, or fail.",
        ask=Question("Do you want to use full graph mode?", when=lambda settings: settings.given("dynamo_mode")),
    )
    dynamo_use_dynamic: bool | None = setting(
        switch=True,
        env="ACCELERATE_DYNAMO_USE_DYNAMIC",
        form=str,
        default_text="torch decides",
        help="Compile for shapes that vary; `=false` compiles for fixed shapes.",
        ask=Question(
            "Do you want to enable dynamic shape tracing?", when=lambda settings: settings.given("dynamo_mode")
        ),
    )
    dynamo_use_regional_compilation: bool = setting(
        False,
        switch=True,
        env="ACCELERATE_DYNAMO_USE_REGIONAL_COMPILATION",
        form=str,
        help="Compile a repeated block once and use it for all repetitions.",
        ask=Question(
            "Do you want to compile repeated blocks once (regional compilation)?",
            when=lambda settings: settings.given("dynamo_mode"),
        ),
    )
