"""A script of the pages: it does nothing, whatever its arguments are."""
