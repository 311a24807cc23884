"""The `accelerate` command, composed of the other five packages."""
