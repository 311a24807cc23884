"""Commands that belong to no single package."""
