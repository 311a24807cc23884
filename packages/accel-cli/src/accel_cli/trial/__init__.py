"""What `accelerate test` runs in each rank. It needs torch and nothing of ours: the ranks' interpreter may be another."""
