"""Text generation: a decoder with its cache, the search for tokens, and what bends the scores on the way.

- :mod:`~edgepipe.generation.config`: the options, and where their values come from (with `options`, `checks`,
  `conflicts`)
- :mod:`~edgepipe.generation.generate`: from inputs to tokens, at once or one at a time
- :mod:`~edgepipe.generation.decoding`: what the search asks of a decoder
- :mod:`~edgepipe.generation.graphs`: a bundle's graphs as such a decoder; :mod:`~edgepipe.generation.causal` and
  :mod:`~edgepipe.generation.seq2seq` are its two kinds, :mod:`~edgepipe.generation.cache` keeps their keys and values
- :mod:`~edgepipe.generation.single`, :mod:`~edgepipe.generation.beams`, :mod:`~edgepipe.generation.group_beams`: the
  searches
- :mod:`~edgepipe.generation.processors`, :mod:`~edgepipe.generation.warpers`: what bends the scores, one idea each;
  `processing` puts them in order
- :mod:`~edgepipe.generation.stopping`: when a sequence is finished

To add an option: its default and meaning in `options.GenerationConfig`, what it may be in `options.CHECKS`, and its
processor with a line in `processing`.
"""
