"""Code with the results of transformers' own that can be traced where transformers' own cannot."""
