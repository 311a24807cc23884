"""What torch's caching allocator holds beside what is allocated, on one device, in bytes.

A free block serves a request of its own stream that isn't larger. So what one moment of a step releases serves the
next one only in part. Logits are the largest blocks: what the rest has released doesn't hold them. Activations are
often smaller than the matrices whose gradients and states come after them. FSDP gathers and reduces on streams of
their own, whose memory serves nothing else.
"""

from __future__ import annotations

from accel_estimate.devices.units import MIB
from accel_estimate.training.device import states
from accel_estimate.training.device.communication import gathering

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from accel_estimate.devices.runtime import Range
    from accel_estimate.training.device.moments import Moment
    from accel_estimate.training.device.rank import Rank

LOGITS, ACTIVATIONS = 1 / 2, 1 / 3
"""The part of what two kinds of blocks could share that they don't: logits with the rest, activations with gradients
and states. Chosen on steps that were traced, and replayed through the model of the allocator."""

EXPANDABLE = 1 / 4
"""What logits don't share where segments expand: free blocks next to each other become one. Activations share all."""

ROUNDING, EXPANDED = 0.03, 0.01
"""What segments hold beyond their blocks, as a part of what is allocated: usual ones, and those that expand."""

STREAM = 22 * MIB
"""The last segments of each stream, of 20 and of 2 MiB (kLargeBuffer, kSmallBuffer)."""

MOST = 0.25
"""What is held at most, as a part of what is allocated, where no more than that can be explained. Reserved was 20 to
37 % above active in eight FSDP runs that pull requests of torchtitan and llama-cookbook report."""


def beside(found: Sequence[Moment], rank: Rank) -> Range:
    """Return what is held beside the peak of a step: low (nothing), expected, high (blocks share nothing)."""
    peak = max(moment.parts.total for moment in found)
    standing, streams = found[-1].parts.weights, 1
    during = most = divided = 0.0
    if rank.recipe.fsdp != "none":
        (during, most), divided, streams = gathering(rank), states.gradients(rank), 3
    whole: list[float] = []
    without_logits: list[float] = []
    activations: list[float] = []
    lasting: list[float] = []
    for moment in found:
        it, gathered = moment.parts, 0.0 if moment is found[-1] else during
        whole.append(it.total - min(it.gradients, divided) - gathered)
        without_logits.append(whole[-1] - it.logits)
        activations.append(it.activations + max(it.weights - standing, 0.0))
        lasting.append(without_logits[-1] - activations[-1])
    own = max(max(whole) + divided + most - peak, 0.0)
    logits = max(without_logits) + max(moment.parts.logits for moment in found) - max(whole)
    inner = max(lasting) + max(activations) - max(without_logits)
    if rank.recipe.expandable_segments:
        rounding = EXPANDED * peak + STREAM * streams
        return 0.0, own + EXPANDABLE * logits + rounding, own + logits + rounding
    rounding = ROUNDING * peak + STREAM * streams
    return 0.0, own + LOGITS * logits + ACTIVATIONS * inner + rounding, own + logits + inner + rounding
