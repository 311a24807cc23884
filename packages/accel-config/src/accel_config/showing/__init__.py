"""Settings as text: help, tables, completion, the reference page; what may be shown of a value."""
