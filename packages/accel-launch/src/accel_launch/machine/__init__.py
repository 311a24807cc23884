"""Facts about this machine, read without torch: devices, cores, limits, processes, connections."""
