"""What processes are doing: stacks that a sampler reads from outside, and what the kernel knows."""
