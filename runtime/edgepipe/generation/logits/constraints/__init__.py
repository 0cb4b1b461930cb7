"""Texts held to a form: a JSON schema, a regular expression, a list of texts. llguidance says which tokens may follow.

- :mod:`~edgepipe.generation.logits.constraints.grammar`: the options as a grammar of llguidance's
- :mod:`~edgepipe.generation.logits.constraints.schema_checks`: schemas that the engine takes, but cannot hold a text to
- :mod:`~edgepipe.generation.logits.constraints.token_table`: the bytes that each token adds to a text
- :mod:`~edgepipe.generation.logits.constraints.constraint`: a grammar over the tokens of a model, and where a text is
  in it
- :mod:`~edgepipe.generation.logits.constraints.constraint_processor`: the mask as a logits processor
"""
