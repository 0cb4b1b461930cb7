"""Text generation: a decoder with its cache, the search for tokens, and what bends the scores on the way.

- :mod:`~edgepipe.generation.decoding`: what the search asks of a decoder
"""
