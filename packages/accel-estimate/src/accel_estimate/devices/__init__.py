"""Devices: their memory, its units, and what CUDA takes of it."""
