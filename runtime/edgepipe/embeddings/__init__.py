"""The modules of sentence-transformers that follow a transformer, on numpy."""
