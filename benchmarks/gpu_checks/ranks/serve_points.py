"""Generate with each named point up to its context's length, and tell what that took of the device.

serve_points.py cuda|cpu NAME...
"""

from typing import Any

import torch
from model import Recipe, built, each, figures, fresh, points

NEW = 16
"""Tokens that are generated; the prompt has the others."""


def serve(name: str, device: str, others: int) -> dict[str, Any]:
    """Generate once; return the cache's bytes and the figures."""
    point = points.ALL[name]
    fresh(device)
    config, model = built(point, Recipe(param_dtype="bfloat16"), device)
    config.use_cache = model.config.use_cache = True
    model.eval()
    batch, length = point.settings["batch_size"], point.settings["context_len"]
    prompt = torch.ones((batch, length - NEW), dtype=torch.int64, device=device)
    with torch.inference_mode():
        out = model.generate(
            prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=NEW, min_new_tokens=NEW, do_sample=False,
            pad_token_id=0, eos_token_id=None, use_cache=True, return_dict_in_generate=True,
        )  # fmt: skip
    layers = getattr(out.past_key_values, "layers", ())
    cache = sum(layer.keys.nbytes + layer.values.nbytes for layer in layers)
    return {**({"cache": cache} if cache else {}), **figures(device, others)}


each(serve)
