"""A page of user code, as people write it. It is checked and never run: both checkers must find nothing in it."""

from __future__ import annotations

import csv
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import Any, assert_type

import numpy as np
from numpy.typing import NDArray

import edgepipe
from edgepipe import Bundle, EdgepipeError, Model, Tokenizer, pipeline
from edgepipe.pipelines.base import Task
from edgepipe.pipelines.task_inputs import ChatMessage, QuestionInContext, TextPair
from edgepipe.pipelines.task_results import (
    ChatGenerationResult,
    EntityGroup,
    FillMaskResult,
    GeneratedTokenIds,
    HiddenStates,
    QuestionAnsweringResult,
    SummarizationResult,
    TextClassificationResult,
    TextGenerationResult,
    TokenEntity,
    TranslationResult,
    ZeroShotClassificationResult,
)

BUNDLE = Path("my-bundle")
TEXTS = ["I love this.", "What a waste of time!"]


def lines(path: str) -> Iterator[str]:
    with open(path, encoding="utf-8") as file:
        yield from file


# Text classification.

classify = pipeline("text-classification", BUNDLE)
assert_type(classify("I love this"), list[TextClassificationResult])
assert_type(classify("I love this")[0]["label"], str)
assert_type(classify("I love this")[0]["score"], float)
assert_type(classify(TEXTS), list[TextClassificationResult])
assert_type(classify(tuple(TEXTS), batch_size=8), list[TextClassificationResult])
assert_type(classify(lines("reviews.txt"), batch_size=8, progress=True), Iterator[TextClassificationResult])
assert_type(classify(line.strip() for line in lines("reviews.txt")), Iterator[TextClassificationResult])
assert_type(classify("I love this", top_k=None), list[TextClassificationResult])
assert_type(classify(TEXTS, top_k=2), list[list[TextClassificationResult]])
assert_type(classify(lines("reviews.txt"), top_k=2), Iterator[list[TextClassificationResult]])
assert_type(classify({"text": "It rains.", "text_pair": "It is wet."}), TextClassificationResult)
assert_type(classify([{"text": "It rains.", "text_pair": "It is wet."}]), list[TextClassificationResult])
assert_type(classify("I love this", truncation=True, max_length=128), list[TextClassificationResult])
assert_type(classify("I love this", function_to_apply="none"), list[TextClassificationResult])

pair: TextPair = {"text": "It rains.", "text_pair": "It is wet."}
assert_type(classify(pair)["label"], str)
row = {"text": "It rains.", "text_pair": "It is wet."}
assert_type(classify(row)["label"], str)
assert_type(classify([row, row]), list[TextClassificationResult])
for result in classify(TEXTS):
    print(f"{result['label']}: {result['score']:.2f}")

every_label = pipeline("sentiment-analysis", BUNDLE, top_k=None, dtype="int8", num_threads=2)
assert_type(every_label(TEXTS), list[list[TextClassificationResult]])
assert_type(pipeline()("I love this"), list[TextClassificationResult])
assert_type(pipeline("text-classification", Bundle.load(BUNDLE))("I love this"), list[TextClassificationResult])


def labels(texts: Iterable[str]) -> list[str]:
    return [each["label"] for each in classify(iter(texts))]


# What a pipeline knows of itself.

assert_type(classify.task, str)
assert_type(classify.device.type, str)
assert_type(str(classify.device), str)
assert_type(classify.model, Model)
assert_type(classify.model.dtype, str)
assert_type(classify.model.config.id2label, dict[int, str])
assert_type(classify.model.config.id2label[0], str)
assert_type(classify.model.config.num_labels, int)
assert_type(classify.model.max_length, int | None)
assert_type(classify.tokenizer, Tokenizer)
classify.model.warm_up()
with pipeline("ner", BUNDLE) as closing:
    assert_type(closing("Sarah lives in Rome"), list[TokenEntity])
closing.close()

# Token classification.

ner = pipeline("ner", BUNDLE)
assert_type(ner("Sarah lives in Rome"), list[TokenEntity])
assert_type(ner("Sarah lives in Rome")[0]["index"], int)
assert_type(ner(TEXTS), list[list[TokenEntity]])
assert_type(ner(lines("reviews.txt")), Iterator[list[TokenEntity]])
assert_type(ner("Sarah lives in Rome", aggregation_strategy="simple"), list[EntityGroup])
assert_type(ner(["Sarah", "lives"], is_split_into_words=True), list[list[TokenEntity]])
assert_type(ner([["Sarah", "lives"], ["in", "Rome"]], is_split_into_words=True), list[list[TokenEntity]])
entities = pipeline("token-classification", BUNDLE, aggregation_strategy="average", stride=16)
assert_type(entities("Sarah lives in Rome")[0]["entity_group"], str)
assert_type(entities("Sarah lives in Rome", ignore_labels=["O", "MISC"])[0]["score"], float)
assert_type(entities("Sarah lives in Rome", aggregation_strategy="none"), list[TokenEntity])

# Question answering.

answer = pipeline("question-answering", BUNDLE)
assert_type(answer(question="Where?", context="In Rome."), QuestionAnsweringResult)
assert_type(answer({"question": "Where?", "context": "In Rome."})["answer"], str)
assert_type(answer("Where?", "In Rome."), QuestionAnsweringResult)
asked: QuestionInContext = {"question": "Where?", "context": "In Rome."}
assert_type(answer(asked, max_answer_len=5, handle_impossible_answer=True), QuestionAnsweringResult)
assert_type(answer(iter([asked, asked])), Iterator[QuestionAnsweringResult])
assert_type(answer([asked, asked]), QuestionAnsweringResult | list[QuestionAnsweringResult])
best = answer(asked, top_k=3)
for each in best if isinstance(best, list) else [best]:
    assert_type(each["start"], int)

# Fill-mask.

unmask = pipeline("fill-mask", BUNDLE, top_k=3)
assert_type(unmask("Rome is the [MASK] of Italy."), list[FillMaskResult])
assert_type(unmask("Rome is the [MASK] of Italy.", targets=["capital", "heart"])[0]["token_str"], str)
assert_type(unmask(("[MASK] one", "[MASK] two")), list[list[FillMaskResult]])
assert_type(unmask(lines("masks.txt")), Iterator[list[FillMaskResult]])

# Zero-shot classification.

sort = pipeline("zero-shot-classification", BUNDLE, hypothesis_template="This is about {}.")
assert_type(sort("My phone is broken", ["electronics", "food"]), ZeroShotClassificationResult)
assert_type(sort("My phone is broken", candidate_labels="electronics, food")["labels"][0], str)
assert_type(sort(TEXTS, ["praise", "blame"], multi_label=True), list[ZeroShotClassificationResult])
assert_type(sort(lines("reviews.txt"), ["praise", "blame"]), Iterator[ZeroShotClassificationResult])

# Features, embeddings, similarity.

extract = pipeline("feature-extraction", BUNDLE)
assert_type(extract("A sentence"), HiddenStates)
assert_type(extract("A sentence")[0][0][0], float)
assert_type(extract(TEXTS, return_tensors=True), list[NDArray[np.float32]])
assert_type(pipeline("feature-extraction", BUNDLE, return_tensors=True)("A sentence"), NDArray[np.float32])
assert_type(extract.embed(TEXTS, normalize_embeddings=True, pooling="mean"), NDArray[np.float32])
compare = pipeline("sentence-similarity", BUNDLE, similarity="dot")
assert_type(compare({"source_sentence": "A cat sat.", "sentences": ["A cat sits.", "It rains."]}), list[float])
assert_type(compare([{"source_sentence": "A cat sat.", "sentences": ["It rains."]}]), list[list[float]])
assert_type(compare.embed("A sentence"), NDArray[np.float32])

# Writing.

write = pipeline("text-generation", BUNDLE, dtype="w8", max_new_tokens=40)
assert_type(write("Once upon a time", do_sample=False, repetition_penalty=1.2), list[TextGenerationResult])
assert_type(write("Once upon a time")[0]["generated_text"], str)
assert_type(write(TEXTS, batch_size=8), list[list[TextGenerationResult]])
assert_type(write(lines("prompts.txt")), Iterator[list[TextGenerationResult]])
assert_type(write("Once upon a time", return_tensors=True)[0]["generated_token_ids"], list[int])
assert_type(write.stream("Once upon a time", temperature=0.8), Generator[str, None, None])
assert_type("".join(write.stream("Once upon a time")), str)
chat = [{"role": "system", "content": "You are brief."}, {"role": "user", "content": "Where is the station?"}]
assert_type(write(chat), list[ChatGenerationResult])
assert_type(write(chat)[0]["generated_text"][-1]["content"], str)
assert_type(write([chat, chat]), list[list[ChatGenerationResult]])
assert_type(write(chat, return_full_text=False)[0]["generated_text"], str)
messages: list[ChatMessage] = [{"role": "user", "content": "Hello!"}]
messages = write(messages)[0]["generated_text"]
assert_type("".join(write.stream(messages)), str)
assert_type(write.cache_prefix(messages, tools=[], prefix_cache_bytes=1 << 20).tokens, int)
assert_type(write.clear_prefixes(), None)
new_text = pipeline("text-generation", BUNDLE, return_full_text=False)
assert_type(new_text(chat)[0]["generated_text"], str)

rewrite = pipeline("text2text-generation", BUNDLE, num_beams=1)
assert_type(rewrite("Good morning")[0]["generated_text"], str)
summarize = pipeline("summarization", BUNDLE)
assert_type(summarize("A long article", max_new_tokens=60), list[SummarizationResult])
assert_type(summarize(TEXTS), list[SummarizationResult])
assert_type(summarize(lines("articles.txt")), Iterator[list[SummarizationResult]])
assert_type(summarize("A long article", return_tensors=True)[0]["summary_token_ids"], list[int])
translate = pipeline("translation", BUNDLE, src_lang="eng_Latn", tgt_lang="fra_Latn")
assert_type(translate("Where is the station?"), list[TranslationResult])
assert_type(translate("Wo?", src_lang="deu_Latn", num_beams=4)[0]["translation_text"], str)
assert_type(translate("Where?", num_return_sequences=2), list[TranslationResult])
assert_type("".join(translate.stream("Where?", num_beams=1, tgt_lang="fra_Latn")), str)

# What is known only when the program runs.


def load(task: str, options: dict[str, Any]) -> Task:
    return pipeline(task, BUNDLE, **options)


assert_type(pipeline("translation_en_to_fr", BUNDLE, num_beams=4), Task)
assert_type(pipeline(model=BUNDLE, aggregation_strategy="simple"), Task)
assert_type(pipeline(None, str(BUNDLE)), Task)
for line in csv.DictReader(lines("questions.csv")):
    print(load("question-answering", {})(line)["answer"])

# The other public names.

assert_type(edgepipe.__version__, str)
tokenizer = Tokenizer.from_pretrained(BUNDLE)
with Model.from_pretrained(BUNDLE, "int8", device="cpu") as model:
    assert_type(model(**tokenizer(TEXTS, padding=True, return_tensors="np"))["logits"], NDArray[np.float32])
    assert_type(model.device.index, int | None)
assert_type(tokenizer.decode([2, 30, 3]), str)
assert_type(tokenizer.decode([[2, 30, 3]]), list[str])
assert_type(tokenizer.convert_tokens_to_ids("[MASK]"), int | None)
assert_type(tokenizer.apply_chat_template(chat, tokenize=False), str)
bundle = Bundle.load(BUNDLE)
assert_type(bundle.dtypes, tuple[str, ...])
assert_type(bundle.config.hidden_size, Any)
assert_type(bundle.task, str | None)
try:
    token_ids: list[GeneratedTokenIds] = write("Once", return_tensors=True)
except EdgepipeError as error:
    print(error)

# What transformers takes.

ported = pipeline(
    "text-classification",
    BUNDLE,
    device=-1,
    dtype="auto",
    torch_dtype="float32",
    token="hf_token",
    use_fast=True,
    trust_remote_code=False,
    framework="pt",
    num_workers=2,
    model_kwargs={},
)
assert_type(ported(TEXTS, num_workers=0), list[TextClassificationResult])
story = pipeline("text-generation", BUNDLE, device_map="auto", generation_config={"max_new_tokens": 40})
assert_type(story("Once upon a time", use_cache=True, logits_to_keep=1), list[TextGenerationResult])
assert_type(pipeline("question-answering", BUNDLE)("Where?", "In Rome.", padding="max_length"), QuestionAnsweringResult)


class Counter:
    """Counts tokens."""

    def put(self, value: NDArray[np.int64]) -> None:
        print(value.shape)

    def end(self) -> None:
        print("done")


assert_type(story("Once upon a time", streamer=Counter()), list[TextGenerationResult])
