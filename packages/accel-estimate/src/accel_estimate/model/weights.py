"""A model's parameters, however its files pack them, and the groups that stay on one device."""

from __future__ import annotations

from itertools import chain
from typing import NamedTuple

from accel_estimate.formats.dtypes import INTEGERS
from accel_estimate.formats.tensors import Group

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any

    from accel_estimate.formats.tensors import Tensor

# What quantizers store with the packed numbers. These aren't parameters of the model.
_CONSTANTS = (
    ".absmax", ".quant_map", ".nested_absmax", ".nested_quant_map", ".qzeros", ".scales", ".g_idx", ".weight_scale",
    ".weight_scale_inv", ".input_scale", ".weight_scale_2", ".SCB", ".weight_format", ".weight_shape",
    ".weight_zero_point", ".weight_g_idx", "_scales",
)  # fmt: skip
_MATRIX, _STACK = 2, 3
_USUAL_BITS = 4
_QWEIGHT = (".qweight", ".weight_packed")


class Weight(NamedTuple):
    """One parameter of the model, or its equal `copies` in all experts of a block.

    `parameters` are the numbers that all of them hold (0 for a quantizer's constants and integer buffers), `nbytes`
    their bytes as stored. `shape` is that of one, () if packing hides it. `linear` is true for a matrix inside a
    block, which quantizers pack and adapters are attached to: not for embeddings, heads, norms, convolutions and
    biases.

    This is a named tuple rather than a `Record` for speed, like `Tensor`: there is one for each tensor.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    parameters: int
    nbytes: int
    block: str
    linear: bool
    copies: int = 1

    @property
    def module(self) -> str:
        """The module that owns it."""
        return self.name.rpartition(".")[0]

    def each(self) -> Iterator[Weight]:
        """Yield the weights that it stands for, each with its own number for the star in the name."""
        parameters, nbytes = self.parameters // self.copies, self.nbytes // self.copies
        for number in range(self.copies):
            name = self.name.replace("experts.*", f"experts.{number}", 1)
            yield self._replace(name=name, parameters=parameters, nbytes=nbytes, copies=1)


_NOT_LINEAR = ("embed", "norm", "relative_attention_bias", "A_log", "ln_", "conv")


def logical(tensors: Iterable[Tensor], config: Mapping[str, Any]) -> tuple[Weight, ...]:
    """Return the parameters, unpacked (bitsandbytes 4-bit, GPTQ, AWQ, compressed-tensors, MXFP4), or as stored."""
    listed = tuple(tensors)
    names = {tensor.name for tensor in listed}
    bits = _bits(config)
    found: list[Weight] = []
    for tensor in listed:
        packs, block = _packs(tensor, names), tensor.block
        parameters = _parameters(tensor, names, bits, packs=packs)
        linear = bool(block) and parameters > 0 and (packs or _is_matrix(tensor))
        shape = () if packs else tensor.shape
        found.append(
            Weight(tensor.name, tensor.dtype, shape, parameters, tensor.nbytes, block, linear, tensor.copies)
        )
    return tuple(found)


def _is_matrix(tensor: Tensor) -> bool:
    if tensor.name.endswith("bias") or any(word in tensor.name for word in _NOT_LINEAR):
        return False
    return len(tensor.shape) == _MATRIX or (len(tensor.shape) == _STACK and "experts" in tensor.name)


def _packs(tensor: Tensor, names: set[str]) -> bool:
    return tensor.name.endswith((*_QWEIGHT, "_blocks")) or (tensor.dtype == "U8" and f"{tensor.name}.absmax" in names)


def _parameters(tensor: Tensor, names: set[str], bits: int, *, packs: bool) -> int:
    if tensor.name.endswith(_QWEIGHT):
        return tensor.nbytes * 8 // bits
    if packs:
        return 2 * tensor.elements
    if _is_constant(tensor.name, names):
        return 0
    if tensor.dtype in INTEGERS:
        return tensor.elements if tensor.dtype == "I8" and tensor.name.endswith("weight") else 0
    return tensor.elements


def _is_constant(name: str, names: set[str]) -> bool:
    if ".quant_state." in name:
        return True
    if not name.endswith(_CONSTANTS):
        return False
    for suffix in _CONSTANTS:
        if name.endswith(suffix):
            stem = name.removesuffix(suffix)
            return any(stem + other in names for other in ("", ".weight", "_blocks", *_QWEIGHT)) or suffix == ".SCB"
    return False


def _bits(config: Mapping[str, Any]) -> int:
    """Return the width of a packed number in bits, from `quantization_config`; 4 if it isn't set."""
    settings = _mapping(config.get("quantization_config"))
    bits = settings.get("bits")
    for group in _mapping(settings.get("config_groups")).values():
        bits = bits or _mapping(_mapping(group).get("weights")).get("num_bits")
    return bits if isinstance(bits, int) and bits in (1, 2, 3, 4, 5, 6, 8) else _USUAL_BITS


def stored_packing(config: Mapping[str, Any]) -> str:
    """Return how `quantization_config` packs the stored weights, by the names of `--quantize`; "" if it doesn't.

    FP8 and MXFP4 don't count: models stored so are unpacked for training.
    """
    settings = _mapping(config.get("quantization_config"))
    method = settings.get("quant_method")
    if method == "bitsandbytes" or (method is None and "load_in_4bit" in settings):
        if settings.get("load_in_8bit"):
            return "int8"
        return "nf4-dq" if settings.get("bnb_4bit_use_double_quant") else "nf4"
    return "gptq4" if method in ("gptq", "awq") and _bits(config) == _USUAL_BITS else ""


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}  # pyright: ignore[reportUnknownVariableType]


# Families whose embeddings stay on one device too (`_no_split_modules` in transformers names them).
_WHOLE_EMBEDDINGS = {
    "bert": "BertEmbeddings",
    "roberta": "RobertaEmbeddings",
    "xlm-roberta": "XLMRobertaEmbeddings",
    "electra": "ElectraEmbeddings",
    "vit": "ViTEmbeddings",
}


def groups(weights: Iterable[Weight], config: Mapping[str, Any], library: str | None) -> dict[str, list[Weight]]:
    """Return the groups that `device_map` keeps together: a repeated block, or a module outside all blocks.

    timm models name no block that must stay whole, so each of their modules is a group.
    """
    whole, blocks = config.get("model_type") in _WHOLE_EMBEDDINGS, library != "timm"
    found: dict[str, list[Weight]] = {}
    for weight in weights if blocks else chain.from_iterable(weight.each() for weight in weights):
        found.setdefault(_group(weight, whole=whole, blocks=blocks), []).append(weight)
    return found


def _group(weight: Weight, *, whole: bool, blocks: bool) -> str:
    folder, slash, _ = weight.name.rpartition("/")
    if blocks and weight.block:
        return weight.block
    before, embeddings, _ = weight.name.partition("embeddings.")
    if whole and embeddings:
        return before + "embeddings"
    return weight.module or (folder + slash + weight.name)


def largest(grouped: Mapping[str, list[Weight]]) -> Group:
    """Return the largest group as stored."""
    sizes = [Group(name, sum(weight.nbytes for weight in members)) for name, members in grouped.items()]
    return max(sizes, key=lambda group: group.nbytes, default=Group("", 0))
