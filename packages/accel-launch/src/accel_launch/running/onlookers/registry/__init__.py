"""The runs of this user on this machine: each has a name, a folder, and a socket at which its launcher answers."""
