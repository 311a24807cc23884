"""What `benchmarks/gpu_check.py` checks, a module for each area: finding, runs, endings, memory, tools."""
