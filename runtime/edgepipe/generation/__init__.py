"""Text generation: the search for tokens, and what changes their scores on the way. It knows no graph.

- :mod:`~edgepipe.generation.config`: the options; :mod:`~edgepipe.generation.config_sources`: where their values come
  from; :mod:`~edgepipe.generation.validation`: what a value may be; :mod:`~edgepipe.generation.conflicts`: which
  options contradict each other
- :mod:`~edgepipe.generation.generate`: from inputs to tokens, at once or one at a time
- :mod:`~edgepipe.generation.decoder_protocol`: what the search asks of a decoder
- :mod:`~edgepipe.generation.prompt`: where a search starts, and its limits of length
- :mod:`~edgepipe.generation.search`: the searches, a file each
- :mod:`~edgepipe.generation.logits`: what changes the scores, in order
- :mod:`~edgepipe.generation.generate_options`: options of transformers that change nothing here, or are missing
- :mod:`~edgepipe.generation.stopping_criteria`: when a sequence is finished
- :mod:`~edgepipe.generation.streamer`: text while its tokens come

To add an option: a field with its default and its check in `config.GenerationConfig`; for a logits processor or a
stopping criterion a class and an entry of ``LOGITS_PROCESSORS`` or ``STOPPING_CRITERIA`` as well.
"""
