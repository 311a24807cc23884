"""A model from its metadata: its layers, its weights, what they take in each number format."""
