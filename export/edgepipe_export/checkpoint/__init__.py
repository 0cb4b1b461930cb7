"""The checkpoint: where it comes from, what it is, and what of it cannot be exported."""
