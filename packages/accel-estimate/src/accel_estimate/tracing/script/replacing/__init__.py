"""What a script finds in place of a device, of other processes, of weights, and of what writes or downloads."""
