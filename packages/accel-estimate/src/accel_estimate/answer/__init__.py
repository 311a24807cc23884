"""What to change so that a model fits: strategies side by side, the cheapest changes, and how far devices go."""
