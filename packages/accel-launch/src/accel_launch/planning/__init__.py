"""From settings and a host's facts to a plan: what would run, printable before anything starts."""
