"""The launch from Python: settings by name, functions and what they return."""
