"""The memory of a user's own training script: its first two optimizer steps run on tensors without data.

`command` is the command's half and imports no torch. `program` runs the script, in a process of its own.
"""
