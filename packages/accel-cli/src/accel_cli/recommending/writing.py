"""The config file of a strategy: its preset with what the model needs, and the script's own lines as comments."""

from __future__ import annotations

import os
import re
import shlex

from accel_cli.gate import words
from accel_cli.recommending.showing import memory, seconds
from accel_config import CATALOGUE
from accel_config.reading import presets
from accel_config.reading.places import own_path
from accel_config.showing.printable import one_line
from accel_config.writing import spelling
from accel_config.writing.edit import assign
from accel_estimate.devices import cards

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_cli.recommending.choosing import Answer, Choice
    from accel_estimate import Recipe

SINGLE = """\
compute_environment: LOCAL_MACHINE
distributed_type: 'NO'  # one process on one device
mixed_precision: bf16  # the range of float32, so no loss scaling
num_processes: 1
"""
FP16 = "mixed_precision: fp16  # these devices don't compute in bf16"
PRESETS = {"qlora-fsdp-offload": "qlora-fsdp"}
"""The presets of strategies that have another name."""
CAUSAL = ("ForCausalLM", "LMHeadModel")
TASKS = dict.fromkeys(CAUSAL, "CAUSAL_LM") | {
    "ForSequenceClassification": "SEQ_CLS",
    "ForTokenClassification": "TOKEN_CLS",
    "ForQuestionAnswering": "QUESTION_ANS",
}
"""PEFT's tasks, by the ends of classes; the heads of other models need none."""
SIZES = ("parallelism_config_dp_replicate_size", "parallelism_config_dp_shard_size")


def text(answer: Answer, choice: Choice, path: str) -> str:
    """Return the text of the file at ``path``; JSON has no comments.

    The default file (and the wizard's, without a path) doesn't name the model: other launchers read it too.
    """
    recipe = choice.strategy.recipe
    made = (
        SINGLE
        if choice.name == "single"
        else presets.text(PRESETS.get(choice.name, choice.name), recipe.num_processes)
    )
    if recipe.mixed_precision == "fp16":
        made = re.sub(r"^mixed_precision: .*$", FP16, made, flags=re.MULTILINE)
    content = made.encode()
    for name, value in _values(choice).items():
        content = assign(content, "preset.yaml", CATALOGUE.by_name[name], value)
    if path and own_path(path, os.environ) is None:
        content = assign(content, "preset.yaml", CATALOGUE.by_name["check_memory"], _checked(answer, recipe))
    head = "".join(f"# {line}".rstrip() + "\n" for line in _head(answer, choice))
    return spelling.translated(f"{head}\n{content.decode()}", path)


def _checked(answer: Answer, recipe: Recipe) -> str:
    """Return what a launch checks the memory of; an amount isn't a name that it finds on the machine."""
    text = words(answer.model, recipe)
    return text if cards.named(answer.devices.name) else f"{text} --fits {shlex.quote(answer.devices.name)}"


def _values(choice: Choice) -> dict[str, object]:
    """Return the settings that the preset has otherwise, or not at all."""
    recipe = choice.strategy.recipe
    found: dict[str, object] = {}
    machines = recipe.num_processes // recipe.processes_per_machine
    if machines > 1:
        found |= {"num_machines": machines, "num_processes": recipe.num_processes, "main_process_port": 29500}
        if recipe.zero_stage >= 0:
            found["deepspeed_multinode_launcher"] = "standard"  # each machine starts its own ranks, as under FSDP
    if choice.name == "hsdp":
        found |= dict(zip(SIZES, (machines, recipe.processes_per_machine), strict=True))
    if recipe.fsdp != "none":
        found |= {"fsdp_offload_params": True} if recipe.offload_param_device == "cpu" else {}
        found["fsdp_activation_checkpointing"] = recipe.gradient_checkpointing == "full"
    if recipe.zero_stage >= 0 and recipe.gradient_accumulation > 1:
        found["gradient_accumulation_steps"] = recipe.gradient_accumulation
    return found


def _head(answer: Answer, choice: Choice) -> list[str]:
    recipe = choice.strategy.recipe
    asked = f"batch {recipe.batch_size} x {recipe.seq_len} tokens on each device"
    return [
        f"{one_line(answer.model)} on {one_line(answer.devices.text)}, {answer.question.method}, {asked}:",
        f"{seconds(choice.cost.seconds)} a step; each device needs {memory(choice.strategy)}.",
        "",
        "The training script needs these lines:",
        *(f"    {line}" for line in script(answer, choice)),
    ]


def script(answer: Answer, choice: Choice) -> list[str]:
    """Return the lines that belong in the training script."""
    recipe, model = choice.strategy.recipe, one_line(repr(answer.model))
    dtype = f"torch.{recipe.param_dtype}"
    packed = ", quantization_config=packed" if recipe.quantize != "none" else ""
    lines: list[str] = []
    if packed:
        lines += [
            'packed = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4",',
            f"    bnb_4bit_compute_dtype={dtype}, bnb_4bit_quant_storage={dtype})",
        ]
    kind, told = answer.architecture or "YourModel", "" if answer.architecture else "  # the class for your task"
    loaded = "AutoModelForCausalLM" if kind.endswith(CAUSAL) else kind
    lines.append(f"model = {loaded}.from_pretrained({model}, torch_dtype={dtype}{packed}){told}")
    if recipe.gradient_checkpointing == "full" and recipe.fsdp == "none":
        lines.append('model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})')
    if recipe.lora_rank:
        task = next((f', task_type="{task}"' for end, task in TASKS.items() if kind.endswith(end)), "")
        adapters = f'LoraConfig(r={recipe.lora_rank}, target_modules="all-linear"{task})'
        lines.append(f"model = get_peft_model(model, {adapters})")
    if recipe.fsdp != "none" and packed:
        lines.append(
            "accelerator.state.fsdp_plugin.auto_wrap_policy = fsdp_auto_wrap_policy(model)  # of peft.utils.other"
        )
    if recipe.gradient_accumulation > 1:
        lines.insert(0, f"accelerator = Accelerator(gradient_accumulation_steps={recipe.gradient_accumulation})")
    else:
        lines.insert(0, "accelerator = Accelerator()")
    lines.append("optimizer = torch.optim.AdamW(model.parameters(), lr=...)")
    lines.append(f"loader = DataLoader(data, batch_size={recipe.batch_size})  # of {recipe.seq_len} tokens each")
    lines.append("model, optimizer, loader = accelerator.prepare(model, optimizer, loader)")
    return lines
