"""TPU hosts and pods. Not in this version yet."""
