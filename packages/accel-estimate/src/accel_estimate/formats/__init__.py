"""Weight files whose header describes them: one module for each format, with one `read`."""
