"""Text generation: a decoder with its cache, the search for tokens, and what bends the scores on the way.

- :mod:`~edgepipe.generation.config_sources`: the options, and where their values come from (with `options`, `checks`,
  `conflicts`)
- :mod:`~edgepipe.generation.generate`: from inputs to tokens, at once or one at a time
- :mod:`~edgepipe.generation.decoder_protocol`: what the search asks of a decoder
- :mod:`~edgepipe.models.decoder.decoder_loading`: a bundle's graphs as such a decoder;
  :mod:`~edgepipe.models.decoder.causal` and
  :mod:`~edgepipe.models.decoder.seq2seq` are its two kinds, :mod:`~edgepipe.models.kv_cache` keeps their keys and
  values
- :mod:`~edgepipe.generation.search.greedy_search`, :mod:`~edgepipe.generation.search.beam_search`,
  :mod:`~edgepipe.generation.search.diverse_beam_search`: the
  searches
- :mod:`~edgepipe.generation.logits_processors`, :mod:`~edgepipe.generation.logits_warpers`: what bends the scores,
  one idea each;
  `processing` puts them in order
- :mod:`~edgepipe.generation.stopping_criteria`: when a sequence is finished

To add an option: its default and meaning in `options.GenerationConfig`, what it may be in `options.CHECKS`, and its
processor with a line in `processing`.
"""
