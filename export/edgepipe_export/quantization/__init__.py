"""From fp32 graphs to smaller ones."""
