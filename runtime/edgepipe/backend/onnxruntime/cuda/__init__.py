"""NVIDIA GPUs: recorded runs, and why they cannot be used."""
