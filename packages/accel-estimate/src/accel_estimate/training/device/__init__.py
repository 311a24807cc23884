"""One device of a training run: its share of the model, and its memory at each moment of a step."""
