"""Weight files that say what is in them before the weights begin: one module each, with one `read`."""
