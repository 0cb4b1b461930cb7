"""Decoders with their key-value cache, as the search for tokens uses them."""
