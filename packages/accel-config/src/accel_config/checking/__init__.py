"""Whether settings can work together, and what a config file holds that can't."""
