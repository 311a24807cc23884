"""A training step run by torch itself on tensors without data, and the memory that it would take on a device.

This room imports torch, transformers and peft; it is imported only for `--trace`.
`script` needs torch alone.
"""
