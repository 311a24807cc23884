"""Memory of serving: a model's weights, and its cache of keys and values."""
