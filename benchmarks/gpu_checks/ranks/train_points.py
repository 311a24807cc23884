"""Train two steps of each named point, and tell what that took of the device.

train_points.py cuda|cpu NAME...
"""

from typing import Any

import torch
from model import built, each, figures, fresh, points

from accel_estimate.tracing import building, optimizers

STEPS = 2


def train(name: str, device: str, others: int) -> dict[str, Any]:
    """Train as the trace does; return the figures."""
    how = points.recipe(points.ALL[name])
    fresh(device)
    config, model = built(points.ALL[name], how, device)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = optimizers.make(trained, how)
    narrow = torch.float16 if how.mixed_precision == "fp16" else torch.bfloat16
    loss = torch.zeros(())
    for _step in range(STEPS):
        for _pass in range(how.gradient_accumulation):
            batch = {key: value.to(device) for key, value in building.batch(config, model, how).items()}
            with torch.autocast(device, narrow, enabled=how.under_autocast):
                outputs = model(**batch)
            loss = outputs.loss
            loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return {"loss": f"{loss.item():.3f}", **figures(device, others)}


each(train)
