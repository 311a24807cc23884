"""The paths that tensors take on a CUDA device, for tensors that say that they are on the CPU.

torch without CUDA can't have tensors on one. What torch does there is told by its sources: which operations autocast
computes in fp32 (ATen/autocast_mode.h), which kernel attention takes (sdp_utils.cpp), and dropout in one kernel.
"""

from __future__ import annotations

from contextlib import contextmanager
from importlib import import_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import Any

torch: Any = import_module("torch")

_FP32 = [
    "acos",
    "asin",
    "cosh",
    "erfinv",
    "exp",
    "expm1",
    "log",
    "log10",
    "log2",
    "log1p",
    "reciprocal",
    "rsqrt",
    "sinh",
    "tan",
    "pow.Tensor_Scalar",
    "pow.Tensor_Tensor",
    "pow.Scalar",
    "softplus",
    "layer_norm",
    "native_layer_norm",
    "rms_norm",
    "group_norm",
    "cosine_similarity",
    "poisson_nll_loss",
    "cosine_embedding_loss",
    "nll_loss",
    "nll_loss2d",
    "hinge_embedding_loss",
    "kl_div",
    "l1_loss",
    "smooth_l1_loss",
    "huber_loss",
    "mse_loss",
    "margin_ranking_loss",
    "multilabel_margin_loss",
    "soft_margin_loss",
    "triplet_margin_loss",
    "multi_margin_loss",
    "binary_cross_entropy_with_logits",
    "dist",
    "cdist",
    "renorm",
    "logsumexp",
]
_FP32_RESULT = [
    "prod",
    "prod.dim_int",
    "softmax.int",
    "log_softmax.int",
    "cumprod",
    "cumsum",
    "sum",
    "sum.dim_IntList",
]
_WIDEST = ["addcdiv", "addcmul", "atan2", "bilinear", "cross", "dot", "index_put", "tensordot", "scatter_add"]
_FLASH_WIDEST, _FLASH_STEP, _MASK_STEP = 256, 8, 16


@contextmanager
def of_the_device() -> Generator[None]:
    """Take the device's paths inside."""
    library = torch.library.Library("aten", "IMPL")
    below = torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastCPU)
    for names, wrap in ((_FP32, _in_fp32), (_FP32_RESULT, _fp32_result), (_WIDEST, _in_the_widest)):
        for name in names:
            library.impl(name, _cast(_operation(name), wrap, below), "AutocastCPU", allow_override=True)
    library.impl("scaled_dot_product_attention", attention, "AutogradCPU", allow_override=True)
    library.impl("dropout", dropout, "AutogradCPU", allow_override=True)
    try:
        yield
    finally:
        library._destroy()


def _operation(name: str) -> Any:
    packet, _, overload = name.partition(".")
    return getattr(getattr(torch.ops.aten, packet), overload or "default")


def _cast(operation: Any, wrap: Callable[..., Any], below: Any) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        with torch._C._ExcludeDispatchKeyGuard(below):
            return wrap(operation, args, kwargs)

    return call


def _eligible(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.is_floating_point() and value.dtype != torch.float64


def _in_fp32(operation: Any, args: Any, kwargs: Any) -> Any:
    return operation(*(one.float() if _eligible(one) else one for one in args), **kwargs)


def _fp32_result(operation: Any, args: Any, kwargs: Any) -> Any:
    """Have the result in fp32 unless a type was asked for; `dtype` may be given by position."""
    named = [one.name for one in operation._schema.arguments]
    given = dict(zip(named, args, strict=False)) | kwargs
    if _eligible(args[0]) and given.get("dtype") is None:
        given["dtype"] = torch.float32
    first = given.pop(named[0])
    return operation(first, **given)


def _in_the_widest(operation: Any, args: Any, kwargs: Any) -> Any:
    wide = any(_eligible(one) and one.dtype == torch.float32 for one in args)
    return _in_fp32(operation, args, kwargs) if wide else operation(*args, **kwargs)


def dropout(data: Any, p: float, train: bool) -> Any:
    """Return what is left of `data`: one kernel, which keeps a one-byte mask."""
    if not train or p == 0 or data.numel() == 0:
        return data
    return torch.ops.aten.native_dropout(data, p, True)[0] if p < 1 else data * 0


def attention(  # noqa: PLR0913, PLR0917 - the operation's own arguments
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    """Return attention by the kernel that a CUDA device takes.

    Flash attention for 16 bits without a mask; else memory-efficient attention, which takes any mask but can't share
    keys among query heads; else torch's own operations, with a score for every pair of tokens.
    """
    ops, width = torch.ops.aten, query.shape[-1]
    scale = width**-0.5 if scale is None else scale
    same = width == value.shape[-1]
    if attn_mask is None and query.dtype in (torch.float16, torch.bfloat16) and same and width <= _FLASH_WIDEST:
        padded = [_padded(one, _FLASH_STEP) for one in (query, key, value)]
        out = ops._scaled_dot_product_flash_attention(*padded, dropout_p, is_causal, False, scale=scale)[0]
        return out[..., :width] if width % _FLASH_STEP else out
    if query.dim() == 4 and key.shape[1] == query.shape[1]:  # noqa: PLR2004 - batch, heads, tokens, width
        bias = None if attn_mask is None else _bias(attn_mask, query, key)
        grad = any(one.requires_grad for one in (query, key, value))
        return ops._scaled_dot_product_efficient_attention(
            query, key, value, bias, grad, dropout_p, is_causal, scale=scale
        )[0]
    return ops._scaled_dot_product_attention_math(
        query, key, value, attn_mask, dropout_p, is_causal, None, scale=scale, enable_gqa=enable_gqa
    )[0]


def _padded(tensor: Any, step: int) -> Any:
    missing = -tensor.shape[-1] % step
    return torch.nn.functional.pad(tensor, (0, missing)) if missing else tensor


def _bias(mask: Any, query: Any, key: Any) -> Any:
    """Return a mask as the kernel takes it: added to the scores, rows padded, seen as one for every head."""
    if mask.dtype == torch.bool:
        mask = torch.zeros_like(mask, dtype=query.dtype).masked_fill(~mask, float("-inf"))
    length = key.shape[2]
    return _padded(mask, _MASK_STEP)[..., :length].expand(*query.shape[:2], query.shape[2], length)
