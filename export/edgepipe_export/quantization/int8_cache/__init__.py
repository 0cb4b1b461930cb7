"""Keys and values of a decoder in 8 bits: what they are rounded by, and the graph that keeps them so."""
