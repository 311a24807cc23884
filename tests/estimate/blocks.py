"""Small models in plain torch, written as transformers writes them, and the bytes that autograd keeps of them."""

from collections.abc import Callable
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint as recomputed

from tests.estimate.test_saved_tensors import BATCH, HEADS, HIDDEN, INNER, KEYS, LENGTH, WIDTH


def same(tensor: Any) -> Any:
    return tensor


class Rms(torch.nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(width))

    def forward(self, x: Any) -> Any:
        dtype, wide = x.dtype, x.to(torch.float32)
        wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-6)
        return self.weight * wide.to(dtype)


class LowRank(torch.nn.Module):
    """A frozen linear layer with an adapter, as peft writes it."""

    def __init__(self, base: Any, rank: int, dropout: float) -> None:
        super().__init__()
        self.base, self.dropout = base, torch.nn.Dropout(dropout) if dropout else torch.nn.Identity()
        self.down = torch.nn.Linear(base.in_features, rank, bias=False)
        self.up = torch.nn.Linear(rank, base.out_features, bias=False)

    def forward(self, x: Any) -> Any:
        return self.base(x) + self.up(self.down(self.dropout(x.to(self.down.weight.dtype)))) * 2.0


ANGLES = torch.outer(torch.arange(LENGTH), torch.arange(WIDTH)).float()
TURNS = {dtype: (ANGLES.cos().to(dtype), ANGLES.sin().to(dtype)) for dtype in (torch.float32, torch.bfloat16)}


def turned(x: Any) -> Any:
    half, (cos, sin) = x.shape[-1] // 2, TURNS[x.dtype]
    return x * cos + torch.cat((-x[..., half:], x[..., :half]), -1) * sin


class Attend(torch.nn.Module):
    def __init__(self, *, eager: bool, fused: bool) -> None:
        super().__init__()
        sizes = (HEADS * WIDTH, KEYS * WIDTH, KEYS * WIDTH)
        self.sizes, self.eager = sizes, eager
        if fused:
            self.qkv_proj = torch.nn.Linear(HIDDEN, sum(sizes), bias=False)
        else:
            self.q_proj, self.k_proj, self.v_proj = (torch.nn.Linear(HIDDEN, n, bias=False) for n in sizes)
        self.o_proj = torch.nn.Linear(HEADS * WIDTH, HIDDEN, bias=False)

    def forward(self, x: Any) -> Any:
        b, s, _ = x.shape
        if hasattr(self, "qkv_proj"):
            parts = self.qkv_proj(x).split(self.sizes, -1)
        else:
            parts = self.q_proj(x), self.k_proj(x), self.v_proj(x)
        q, k, v = (part.view(b, s, -1, WIDTH).transpose(1, 2) for part in parts)
        q, k = turned(q).to(v.dtype), turned(k).to(v.dtype)
        if self.eager:
            k, v = (t.repeat_interleave(HEADS // KEYS, dim=1) for t in (k, v))
            scores = torch.matmul(q, k.transpose(2, 3)) * WIDTH**-0.5
            out = torch.matmul(torch.softmax(scores, -1, dtype=torch.float32).to(q.dtype), v)
        else:
            out = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        return self.o_proj(out.transpose(1, 2).reshape(b, s, -1))


class Gated(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gate_proj, self.up_proj = (torch.nn.Linear(HIDDEN, INNER, bias=False) for _ in range(2))
        self.down_proj = torch.nn.Linear(INNER, HIDDEN, bias=False)

    def forward(self, x: Any) -> Any:
        return self.down_proj(torch.nn.functional.silu(self.gate_proj(x)) * self.up_proj(x))


class Plain(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = torch.nn.Linear(HIDDEN, INNER), torch.nn.Linear(INNER, HIDDEN)

    def forward(self, x: Any) -> Any:
        return self.down(torch.nn.functional.gelu(self.up(x)))


class Block(torch.nn.Module):
    def __init__(self, norm: Callable[[int], Any], mlp: Callable[[], Any], *, eager: bool, fused: bool) -> None:
        super().__init__()
        self.first, self.second = norm(HIDDEN), norm(HIDDEN)
        self.attend, self.mlp = Attend(eager=eager, fused=fused), mlp()

    def forward(self, x: Any) -> Any:
        x = x + self.attend(self.first(x))
        return x + self.mlp(self.second(x))


def saved(blocks: Any, x: Any, *, autocast: bool, checkpoint: bool = False) -> int:
    """Run the blocks, and sum the storages that autograd keeps, each once; parameters are left out."""
    known = {p.untyped_storage().data_ptr() for p in blocks.parameters()}
    kept: dict[int, Any] = {}

    def pack(tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept.setdefault(storage.data_ptr(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, same), torch.autocast("cpu", torch.bfloat16, autocast):
        for block in blocks:
            x = recomputed(block, x, use_reentrant=True) if checkpoint else block(x)
    x.float().sum().backward()  # a whole step: what is counted must also serve
    # Narrow copies of weights under autocast are counted with the weights, not here.
    shapes = {tuple(p.shape) for p in blocks.parameters()} | {tuple(reversed(p.shape)) for p in blocks.parameters()}
    return sum(t.untyped_storage().nbytes() for t in kept.values() if not (autocast and tuple(t.shape) in shapes))


def one_more(make: Callable[[], Any], dtype: str, *, autocast: bool = False, checkpoint: bool = False) -> float:
    """Return the bytes a token that a third layer keeps."""
    totals: list[int] = []
    for count in (2, 3):
        torch.manual_seed(0)
        blocks = torch.nn.ModuleList([make() for _ in range(count)])
        x = torch.randn(BATCH, LENGTH, HIDDEN, dtype=getattr(torch, dtype), requires_grad=True)
        totals.append(saved(blocks, x, autocast=autocast, checkpoint=checkpoint))
    return (totals[1] - totals[0]) / (BATCH * LENGTH)


def make(dtype: str, *, eager: bool = False, fused: bool = False, plain: bool = False) -> Callable[[], Any]:
    norm = torch.nn.LayerNorm if plain else Rms
    return lambda: Block(norm, Plain if plain else Gated, eager=eager, fused=fused).to(getattr(torch, dtype))


def frozen(dtype: str, names: tuple[str, ...], *, dropout: float = 0.0, adapter: Any = None) -> Callable[[], Any]:
    def build() -> Any:
        block = make(dtype)()
        for parameter in block.parameters():
            parameter.requires_grad_(False)
        for owner in (block.attend, block.mlp):
            for name in names:
                if hasattr(owner, name):
                    setattr(owner, name, LowRank(getattr(owner, name), 2, dropout).to(getattr(torch, dtype)))
                    if adapter is not None:
                        getattr(owner, name).down.to(adapter)
                        getattr(owner, name).up.to(adapter)
        return block

    return build
