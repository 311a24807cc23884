"""A model on the Hub, read by ranges: one request for the list of files, one for each header."""
