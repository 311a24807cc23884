"""Settings from the outside: flags, environment variables, config files."""
