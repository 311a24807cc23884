"""Commands about runs: what there is, what they do, and how they end."""
