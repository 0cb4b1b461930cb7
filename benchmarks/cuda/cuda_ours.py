"""edgepipe, with buckets or without them."""

import numpy as np
from cuda_work import TEXT, ids, parse_arguments, serve

from edgepipe import Bundle, Model, pipeline
from edgepipe.backend.session import SessionConfig
from edgepipe.generation.config_sources import generation_config
from edgepipe.generation.generate import generate
from edgepipe.models.decoder.decoder_loading import load_decoder

folder, work, options = parse_arguments()
where = {"dtype": options["dtype"], "device": options["device"]}
buckets = [(work.rows, work.tokens)] if options["buckets"] else []
if work.kind == "encoder":
    model = Model.from_pretrained(folder, **where, buckets=buckets)
    model.warm_up()
    feeds = {"input_ids": np.array(ids(work, model.config["vocab_size"]), np.int64)}
    serve(lambda: model(**feeds)["logits"])
elif work.kind == "text":
    classify = pipeline("text-classification", folder, **where, buckets=[(1, 16)] if options["buckets"] else [])
    classify.model.warm_up()
    serve(lambda: classify(TEXT))
else:
    decoder = load_decoder(Bundle.load(folder), options["dtype"], SessionConfig(options["device"]))
    config = generation_config(decoder, {}, {"max_new_tokens": work.new, "do_sample": False})
    prompt = np.array(ids(work, decoder.config["vocab_size"]), np.int64)
    serve(lambda: generate(decoder, prompt, np.ones_like(prompt), config))
