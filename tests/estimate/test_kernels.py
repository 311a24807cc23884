"""The stand-ins for the kernels of state spaces: what they keep, take and refuse, by numbers from the kernels' sources."""

from collections import Counter
from typing import Any

import pytest

from accel_estimate.model.blueprint import StateSpace
from accel_estimate.training.activations.compute import Compute
from accel_estimate.training.activations.layers import mixed

BATCH, LENGTH, HIDDEN, INNER, STATES, RANK, WIDTH = 2, 2100, 32, 64, 16, 8, 4
CHUNKS = 2  # of 2048 tokens


@pytest.fixture(scope="module")
def torch() -> Any:
    return pytest.importorskip("torch", reason="torch is not installed: sync the group `torch`")


@pytest.fixture(scope="module")
def kernels(torch: Any) -> Any:
    from accel_estimate.tracing.kernels import calls  # which has all three

    return calls


def mixer(torch: Any, dtype: Any, *, batch: int = BATCH, weights: Any = None) -> tuple[Any, ...]:
    """What transformers gives to mamba_inner_fn; the first product's result is rows of channels."""
    kind = weights or dtype
    shapes = (INNER, 1, WIDTH), (INNER,), (RANK + 2 * STATES, INNER), (INNER, RANK), (HIDDEN, INNER)
    parameters = [torch.zeros(shape, dtype=kind, requires_grad=True) for shape in shapes]
    xz = torch.zeros((batch, LENGTH, 2 * INNER), dtype=dtype, requires_grad=True).transpose(1, 2)
    rates, factor = (torch.zeros(shape, requires_grad=True) for shape in ((INNER, STATES), (INNER,)))
    return (xz, *parameters, None, rates, None, None, factor)


def scan(torch: Any, dtype: Any, **changes: Any) -> dict[str, Any]:
    """What transformers gives to selective_scan_fn for Jamba."""
    rows = {"u": INNER, "delta": INNER, "B": STATES, "C": STATES, "z": INNER}
    found = {
        name: torch.zeros((BATCH, LENGTH, wide), dtype=dtype, requires_grad=True).transpose(1, 2)
        for name, wide in rows.items()
    }
    shapes = {"A": (INNER, STATES), "D": (INNER,), "delta_bias": (INNER,)}
    return found | {name: torch.zeros(shape, requires_grad=True) for name, shape in shapes.items()} | changes


def scanned(kernels: Any, given: dict[str, Any]) -> Any:
    named = {name: given[name] for name in ("D", "z", "delta_bias")}
    return kernels.selective_scan_fn(*(given[name] for name in ("u", "delta", "A", "B", "C")), **named)


def saved(torch: Any, run: Any) -> Counter[tuple[tuple[int, ...], str]]:
    """The shapes and types of what autograd saves that isn't given, each storage once."""
    found: dict[int, Any] = {}

    def pack(tensor: Any) -> Any:
        if not tensor.is_leaf or not tensor.requires_grad:
            found[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    def unpack(tensor: Any) -> Any:
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        run()
    return Counter((tuple(it.shape), str(it.dtype).removeprefix("torch.")) for it in found.values())


def bytes_of(found: Counter[tuple[tuple[int, ...], str]]) -> int:
    widths = {"float32": 4, "bfloat16": 2}
    total = 0
    for (shape, kind), times in found.items():
        numbers = times * widths[kind]
        for size in shape:
            numbers *= size
        total += numbers
    return total


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_mixer_keeps_what_its_first_checkpoint_level_does(torch: Any, kernels: Any, dtype: str) -> None:
    found = saved(torch, lambda: kernels.mamba_inner_fn(*mixer(torch, getattr(torch, dtype))))
    kernel = ((INNER, WIDTH), dtype)  # a view of the weight
    assert found - Counter([kernel]) == {
        ((BATCH, 2 * INNER, LENGTH), dtype): 1,  # xz, made contiguous
        ((BATCH * LENGTH, RANK + 2 * STATES), dtype): 1,  # x_dbl
        ((BATCH, 1, STATES, LENGTH), dtype): 2,  # B, C
        ((BATCH, INNER, CHUNKS, 2 * STATES), "float32"): 1,
        ((BATCH, INNER, LENGTH), dtype): 1,  # the result before its gate
    }
    width = getattr(torch, dtype).itemsize
    formula = mixed(StateSpace(INNER, STATES, WIDTH, RANK), LENGTH, Compute(width, width)).whole
    assert bytes_of(found - Counter([kernel])) == pytest.approx(BATCH * LENGTH * formula)


def test_under_autocast_the_mixer_keeps_narrow_weights(torch: Any, kernels: Any) -> None:
    given = mixer(torch, torch.bfloat16, weights=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        found = saved(torch, lambda: kernels.mamba_inner_fn(*given))
    for shape in ((RANK + 2 * STATES, INNER), (INNER, RANK), (HIDDEN, INNER)):
        assert found[shape, "bfloat16"] == 1


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_scan_keeps_copies_of_what_it_reads(torch: Any, kernels: Any, dtype: str) -> None:
    found = saved(torch, lambda: scanned(kernels, scan(torch, getattr(torch, dtype))))
    assert found == {
        ((BATCH, INNER, LENGTH), dtype): 4,  # u, delta and z by channels, and the result before its gate
        ((BATCH, 1, STATES, LENGTH), dtype): 2,
        ((BATCH, INNER, CHUNKS, 2 * STATES), "float32"): 1,
    }


def test_the_convolution_keeps_its_input_where_it_is(torch: Any, kernels: Any) -> None:
    both = torch.zeros((BATCH, LENGTH, 2 * INNER), requires_grad=True)
    half = both.transpose(1, 2).chunk(2, dim=1)[0]
    weight, bias = torch.zeros((INNER, WIDTH), requires_grad=True), torch.zeros(INNER, requires_grad=True)
    made: list[Any] = []
    found = saved(torch, lambda: made.append(kernels.causal_conv1d_fn(half, weight, bias, activation="silu")))
    assert found == {(tuple(half.shape), "float32"): 1}
    assert made[0].transpose(1, 2).is_contiguous()  # as its input: a token's channels follow one another


@pytest.mark.parametrize(("batch", "vectors"), [(1, 8), (2, 9)])
def test_the_mixers_backward_pass_has_so_many_vectors(torch: Any, kernels: Any, batch: int, vectors: int) -> None:
    from accel_estimate.tracing.tracker import BACKWARD, FORWARD, Tracker

    with torch._subclasses.fake_tensor.FakeTensorMode():
        given, grad = mixer(torch, torch.float32, batch=batch), torch.zeros((batch, LENGTH, HIDDEN))
        tracker = Tracker(0, 1, host_scalars=False)
        with tracker:
            with tracker.phase(FORWARD):
                out = kernels.mamba_inner_fn(*given)
            kept = sum(block.rounded for block in tracker.tape.alive())
            with tracker.phase(BACKWARD):
                out.backward(grad)
    most = next(peak.total for peak in tracker.tape.peaks() if peak.phase == BACKWARD)
    one = batch * INNER * LENGTH * 4
    small = 4 * batch * LENGTH * (2 * RANK + 8 * STATES)  # x_dbl's gradients, those of B and C, and so on
    assert vectors * one < most - kept < vectors * one + small


def test_every_gradient_has_its_shape_and_type(torch: Any, kernels: Any) -> None:
    given = mixer(torch, torch.bfloat16)
    kernels.mamba_inner_fn(*given).sum().backward()
    parts = scan(torch, torch.bfloat16)
    scanned(kernels, parts).sum().backward()
    for tensor in (*given, *parts.values()):
        if tensor is not None and tensor.is_leaf:
            assert (tensor.grad.shape, tensor.grad.dtype) == (tensor.shape, tensor.dtype)


@pytest.mark.parametrize("name", ["delta", "B", "C", "z", "D", "delta_bias", "A"])
def test_the_scan_refuses_other_types(torch: Any, kernels: Any, name: str) -> None:
    given = scan(torch, torch.bfloat16)
    other = torch.bfloat16 if given[name].dtype == torch.float32 else torch.float32
    with pytest.raises(RuntimeError, match=f"selective_scan: {name} is "):
        scanned(kernels, given | {name: given[name].to(other)})


def test_shapes_and_layouts_that_the_kernels_refuse(torch: Any, kernels: Any) -> None:
    given = scan(torch, torch.float32)
    with pytest.raises(RuntimeError, match="must have the shape"):
        scanned(kernels, given | {"delta": given["delta"][:, :, 1:]})
    wide = {"A": torch.zeros((INNER, 257)), **{name: torch.zeros((BATCH, 257, LENGTH)) for name in "BC"}}
    with pytest.raises(RuntimeError, match="at most 256 states"):
        scanned(kernels, given | wide)
    kernel = torch.zeros((INNER, WIDTH))
    odd = torch.zeros((BATCH, LENGTH, INNER + 1)).transpose(1, 2)[:, 1:]
    for bad, weight, bias, activation in (
        (given["u"], torch.zeros((INNER, 5)), None, "silu"),
        (given["u"], kernel, torch.zeros(INNER, dtype=torch.bfloat16), "silu"),
        (given["u"].double(), kernel, None, "silu"),
        (given["u"], kernel, None, "gelu"),
        (odd, kernel, None, "silu"),
    ):
        with pytest.raises(RuntimeError, match="causal_conv1d: "):
            kernels.causal_conv1d_fn(bad, weight, bias, activation=activation)


@pytest.mark.parametrize("norms", [False, True])
def test_norms_keep_no_more(torch: Any, kernels: Any, norms: bool) -> None:
    widths = {"b": STATES, "c": STATES, "dt": INNER}
    weights = {f"{name}_rms_weight": torch.ones(width) for name, width in widths.items()} if norms else {}
    found = saved(torch, lambda: kernels.mamba_inner_fn(*mixer(torch, torch.float32), **weights))
    assert found[(BATCH, 1, STATES, LENGTH), "float32"] == 2
    assert found[(BATCH, INNER, LENGTH), "float32"] == 1
    with pytest.raises(RuntimeError, match="a norm of another width"):
        kernels.mamba_inner_fn(*mixer(torch, torch.float32), b_rms_weight=torch.ones(STATES + 1))
