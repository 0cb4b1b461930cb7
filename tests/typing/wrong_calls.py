"""Mistakes that people make. It is checked and never run: both checkers must find one in each line marked as wrong."""

from __future__ import annotations

from pathlib import Path

import edgepipe
from edgepipe import Model, pipeline

BUNDLE = Path("my-bundle")

# Where a pipeline is made.
pipeline("ner", BUNDLE, agregation_strategy="simple")  # wrong: the option is misspelt
pipeline("ner", BUNDLE, aggregation_strategy="simpel")  # wrong: no such strategy
pipeline("ner", BUNDLE, candidate_labels=["a", "b"])  # wrong: another task's option
pipeline("fill-mask", BUNDLE, top_k="5")  # wrong: a text is no number
pipeline("text-classification", BUNDLE, device=1.5)  # wrong: no device
pipeline("text-classification", BUNDLE, batchsize=8)  # wrong: the option is misspelt
pipeline("text-generation", BUNDLE, max_new_token=40)  # wrong: the option is misspelt
pipeline("sentence-similarity", BUNDLE, similarity="euclid")  # wrong: no such similarity
pipeline(3, BUNDLE)  # wrong: no task
pipeline("ner", BUNDLE, trust_remote_code=True)  # wrong: a bundle has no code
pipeline("ner", BUNDLE, dtype=3)  # wrong: no dtype
edgepipe.pipelin("ner", BUNDLE)  # wrong: the name is misspelt

# Where it is called.
classify = pipeline("text-classification", BUNDLE)
classify("I love this", topk=3)  # wrong: the option is misspelt
classify("I love this", top_k="all")  # wrong: None stands for all
classify("I love this", function_to_apply="relu")  # wrong: no such function
classify(3)  # wrong: no text
classify(b"I love this")  # wrong: bytes are no text
classify([1, 2])  # wrong: no texts
answer = pipeline("question-answering", BUNDLE)
answer(question="Where?")  # wrong: the context is missing
answer("Where?", "In Rome.", stride=3)  # wrong: the option is called doc_stride
unmask = pipeline("fill-mask", BUNDLE)
unmask({"text": 3})  # wrong: no text
sort = pipeline("zero-shot-classification", BUNDLE)
sort("My phone is broken", labels=["electronics"])  # wrong: they are called candidate_labels
compare = pipeline("sentence-similarity", BUNDLE)
compare("A cat sat.")  # wrong: no dict
extract = pipeline("feature-extraction", BUNDLE)
extract.embed(["A sentence"], pool="mean")  # wrong: the option is called pooling
write = pipeline("text-generation", BUNDLE)
write("Once upon a time", max_tokens=40)  # wrong: the option is called max_new_tokens
write("Once upon a time", streamer=print)  # wrong: no streamer
write("Once upon a time", output_scores=True)  # wrong: a result has none
write("Once upon a time", src_lang="en")  # wrong: another task's option
write.cache_prefix(5)  # wrong: a text or a chat
write.stream(["Once upon a time", "there was"])  # wrong: a stream has one prompt
summarize = pipeline("summarization", BUNDLE)
summarize("A long article", src_lang="en")  # wrong: another task's option

# What comes back.
classify("I love this")["label"]  # wrong: a list
classify("I love this")[0]["lable"]  # wrong: the key is misspelt
classify({"text": "I love this"})[0]  # wrong: no list
pipeline("ner", BUNDLE)("Sarah")[0]["entity_group"]  # wrong: nothing was aggregated
pipeline("ner", BUNDLE, aggregation_strategy="max")("Sarah")[0]["entity"]  # wrong: aggregated
pipeline("ner", BUNDLE)("Sarah")[0]["score"].label  # wrong: a number
answer(question="Where?", context="In Rome.")[0]  # wrong: no list
summarize("A long article")[0]["generated_text"]  # wrong: the key is summary_text
write("Once upon a time")[0]["generated_text"][0]["content"]  # wrong: a text, no chat
classify(line for line in ["a", "b"])[0]  # wrong: an iterator

# What a pipeline has.
classify.embed(["A sentence"])  # wrong: another task's method
classify.stream("Once upon a time")  # wrong: another task's method
classify.model.config.id2label["0"]  # wrong: ids are numbers
classify.devices  # wrong: the name is misspelt
Model.from_pretrained(BUNDLE).warmup()  # wrong: the name is misspelt
