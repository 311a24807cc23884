"""Memory of a model: for loading, training and serving. Not in this version yet."""
