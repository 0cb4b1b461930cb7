"""Attention over keys and values of a cache, as it is traced."""
