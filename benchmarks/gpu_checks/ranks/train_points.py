"""Train two steps of each named point, and tell what that took of the device.

train_points.py cuda|cpu NAME...
"""

from typing import Any

import torch
from model import Recipe, built, each, figures, fresh, points

from accel_estimate.tracing import building, optimizers

STEPS = 2


def passed(model: Any, batch: dict[str, Any], how: Recipe, device: str) -> torch.Tensor:
    """Go forward and backward; return the loss. Nothing else is kept: logits would be there in the next pass."""
    narrow = torch.float16 if how.mixed_precision == "fp16" else torch.bfloat16
    with torch.autocast(device, narrow, enabled=how.under_autocast):
        outputs = model(**{key: value.to(device) for key, value in batch.items()})
    loss = outputs.loss
    loss.backward()
    return loss.detach()


def train(name: str, device: str, others: int) -> dict[str, Any]:
    """Train as the trace does; return the figures."""
    how = points.recipe(points.ALL[name])
    fresh(device)
    config, model = built(points.ALL[name], how, device)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = optimizers.make(trained, how)
    loss = torch.zeros(())
    for _step in range(STEPS):
        for _pass in range(how.gradient_accumulation):
            loss = passed(model, building.batch(config, model, how), how, device)
        optimizer.step()
        optimizer.zero_grad()
    return {"loss": f"{loss.item():.3f}", **figures(device, others)}


each(train)
