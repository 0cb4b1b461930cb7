"""A graph in hand: questions about it, and edits of it."""
