"""Where checkpoints come from: a folder, or the Hub."""
