"""Inputs and options of every task: those that are right, and those that somebody may pass by mistake."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.fuzz.texts import WORDS, make_text


class Thing:
    """What no option is."""

    def __repr__(self) -> str:
        return "<a thing>"


def a_function(*args: Any) -> Any:
    """What few options are."""
    return args


ODD: tuple[Any, ...] = (
    None, True, False, 0, 1, 2, -1, -(2**63), 2**31, 2**63, 10**30, 10**400, 1.5, 0.0, -0.5, 1e308,
    float("nan"), float("inf"), 1j, "", " ", "3", "true", "none", "x",
    "\x00", "\ud800", "a" * 10_000, b"a", [], (), {}, [None], [0], [1, 2],
    ["a"], [["a"]], [[]], [[1, 2], [3]], {"a": 1}, {1: 2}, {"truncation": True}, {"a"}, frozenset(), range(3), ...,
    np.int64(2), np.float32(0.5), np.bool_(True), np.array([1, 2]), np.array(3), np.str_("a"), Thing(), a_function,
    [float("nan")], ["\ud800"], int, "softmax", "max_length", "longest_first", -1.0,
)  # fmt: skip
# Not those that Python itself refuses, as they are parameters of most tasks' methods: `self` and `inputs`.
UNKNOWN = ("top_K", "topk", "max_len", "temperatur", "__class__", "text", "", "a" * 300, "return_dict", "device",
           "dtype", "model", "return_tensors", "args", "num_workers", "progress", "batch_size")  # fmt: skip


Draw = random.Random
Inputs = Any
Call = tuple[Inputs, dict[str, Any]]


def _text(draw: Draw, pieces: int = 6) -> str:
    return make_text(draw, pieces, long=False)


def _some(draw: Draw, options: dict[str, Callable[[], Any]], share: float = 0.3) -> dict[str, Any]:
    return {name: make() for name, make in options.items() if draw.random() < share}


def _batched(draw: Draw, make: Callable[[], Any]) -> tuple[Any, dict[str, Any]]:
    """One input, or a list of them with a size of batches."""
    if draw.random() < 0.6:
        return make(), {}
    inputs = [make() for _ in range(draw.randint(1, 4))]
    return inputs, {"batch_size": draw.randint(1, 4)} if draw.random() < 0.6 else {}


def text_classification(draw: Draw) -> Call:
    """A text, or a pair."""

    def one() -> Any:
        return {"text": _text(draw), "text_pair": _text(draw)} if draw.random() < 0.2 else _text(draw, 12)

    inputs, options = _batched(draw, one)
    options |= _some(
        draw,
        {
            "top_k": lambda: draw.choice((None, 1, 2, 3, 9)),
            "function_to_apply": lambda: draw.choice(("sigmoid", "softmax", "none", None)),
            "max_length": lambda: draw.randint(5, 64),
            "padding": lambda: draw.choice((True, False, "max_length", "longest")),
        },
    )
    return inputs, options | {"truncation": True}


def token_classification(draw: Draw) -> Call:
    """A text."""
    inputs, options = _batched(draw, lambda: _text(draw, 16))
    options |= _some(
        draw,
        {
            "aggregation_strategy": lambda: draw.choice(("none", "simple", "first", "average", "max")),
            "ignore_labels": lambda: draw.sample(("O", "B-PER", "I-PER", "PER", "LOC"), draw.randint(0, 3)),
        },
        0.6,
    )
    if options.get("aggregation_strategy", "none") != "none" and draw.random() < 0.3:
        options["stride"] = draw.randint(0, 20)
    return inputs, options


def fill_mask(draw: Draw) -> Call:
    """A text with a mask or two."""

    def one() -> str:
        parts = [_text(draw, 3) for _ in range(draw.choice((1, 1, 2)) + 1)]
        return " <mask> ".join(parts)

    inputs, options = _batched(draw, one)
    options |= _some(draw, {"top_k": lambda: draw.randint(1, 20), "targets": lambda: draw.sample(WORDS, 3)})
    return inputs, options | {"tokenizer_kwargs": {"truncation": True}}


def zero_shot_classification(draw: Draw) -> Call:
    """A text and labels for it."""
    inputs, options = _batched(draw, lambda: _text(draw, 4) or "a")
    labels: Any = [draw.choice(WORDS).replace(",", "").strip() or "a" for _ in range(draw.randint(1, 4))]
    labels = list(dict.fromkeys(labels))
    options["candidate_labels"] = ", ".join(labels) if draw.random() < 0.3 else labels
    options |= _some(
        draw,
        {
            "hypothesis_template": lambda: draw.choice(("This is {}.", "{}", "It is about {}, they say.")),
            "multi_label": lambda: draw.random() < 0.5,
        },
    )
    return inputs, options


def feature_extraction(draw: Draw) -> Call:
    """A text."""
    inputs, options = _batched(draw, lambda: _text(draw, 8))
    if draw.random() < 0.5:
        return inputs, options | {"truncation": True}
    cut = {"truncation": True, "max_length": draw.randint(3, 64)}
    return inputs, options | {"tokenize_kwargs": cut}


def question_answering(draw: Draw) -> Call:
    """A question and its context."""
    inputs, options = _batched(
        draw, lambda: {"question": _text(draw, 4) or "a", "context": _text(draw, 24).strip() or "a"}
    )
    return inputs, options | _some(
        draw,
        {
            "top_k": lambda: draw.randint(1, 5),
            "doc_stride": lambda: draw.randint(1, 8),
            "max_answer_len": lambda: draw.randint(1, 20),
            "max_seq_len": lambda: draw.randint(40, 64),
            "max_question_len": lambda: draw.randint(4, 20),
            "handle_impossible_answer": lambda: draw.random() < 0.5,
            "align_to_words": lambda: draw.random() < 0.5,
        },
    )


def sentence_similarity(draw: Draw) -> Call:
    """A sentence and others."""
    inputs = {"source_sentence": _text(draw), "sentences": [_text(draw) for _ in range(draw.randint(1, 4))]}
    return inputs, _some(draw, {"similarity": lambda: draw.choice(("cosine", "dot"))})


def _search(draw: Draw) -> dict[str, Any]:
    """A search whose tokens are the same every time."""
    beams = draw.choice((1, 1, 1, 2, 3))
    found: dict[str, Any] = {"max_new_tokens": draw.randint(1, 8), "do_sample": False, "num_beams": beams}
    found |= _some(
        draw,
        {
            "repetition_penalty": lambda: draw.choice((0.8, 1.1, 1.3, 2.0)),
            "no_repeat_ngram_size": lambda: draw.randint(1, 3),
            "suppress_tokens": lambda: [draw.randint(5, 250) for _ in range(3)],
            "bad_words_ids": lambda: [[draw.randint(5, 250) for _ in range(draw.randint(1, 2))] for _ in range(2)],
            "min_new_tokens": lambda: draw.randint(1, found["max_new_tokens"]),
        },
        0.15,
    )
    if beams > 1:
        found |= _some(
            draw,
            {
                "length_penalty": lambda: draw.choice((-1.0, 0.5, 2.0)),
                "early_stopping": lambda: draw.choice((True, False, "never")),
                "num_return_sequences": lambda: draw.randint(1, beams),
            },
        )
    return found


def text_generation(draw: Draw) -> Call:
    """A prompt."""
    inputs, options = _batched(draw, lambda: _text(draw, 4))
    return inputs, options | _search(draw) | _some(draw, {"return_full_text": lambda: draw.random() < 0.5})


def writing(draw: Draw) -> Call:
    """A text to make another of."""
    return _text(draw, 8), _search(draw) | {"truncation": True}


def translation(draw: Draw) -> Call:
    """A text in one of the tokenizer's languages."""
    languages = ("deu_Latn", "eng_Latn", "fra_Latn", "zho_Hans")
    return _text(draw, 8), _search(draw) | {
        "src_lang": draw.choice(languages),
        "tgt_lang": draw.choice(languages),
        "truncation": True,
    }


MAKERS: dict[str, Callable[[Draw], Call]] = {
    "text-classification": text_classification,
    "token-classification": token_classification,
    "fill-mask": fill_mask,
    "zero-shot-classification": zero_shot_classification,
    "feature-extraction": feature_extraction,
    "question-answering": question_answering,
    "sentence-similarity": sentence_similarity,
    "text-generation": text_generation,
    "text2text-generation": writing,
    "summarization": writing,
    "translation": translation,
}

# Options of a task that its maker does not give, and that somebody may pass in an odd way.
_MORE = ("truncation", "padding", "max_length", "stride", "top_k", "return_tensors", "tokenizer_kwargs", "temperature",
         "do_sample", "top_p", "seed", "min_p", "typical_p", "num_beams", "max_new_tokens", "eos_token_id", "prefix",
         "pad_token_id", "sequence_bias", "bad_words_ids", "forced_bos_token_id", "guidance_scale", "max_time",
         "stop_strings", "streamer", "generation_config", "logits_processor", "stopping_criteria", "tools",
         "handle_long_generation", "watermarking_config", "exponential_decay_length_penalty", "num_beam_groups",
         "is_split_into_words", "delimiter", "add_special_tokens", "candidate_labels", "similarity",
         "targets", "prefix_cache_bytes")  # fmt: skip


def make_odd(draw: Draw, call: Call) -> Call:
    """A call with something odd in it: an option's value, an option that there is not, an input."""
    inputs, options = call
    odd = copy.deepcopy(draw.choice(ODD))  # a call may change a list
    kind = draw.choice(("value", "value", "value", "more", "more", "unknown", "input", "inputs"))
    if kind == "value" and options:
        return inputs, options | {draw.choice(list(options)): odd}
    if kind == "more":
        return inputs, options | {draw.choice(_MORE): odd}
    if kind == "unknown":
        return inputs, options | {draw.choice(UNKNOWN): odd}
    if kind == "inputs" or isinstance(inputs, str):
        return odd if draw.random() < 0.7 else [inputs, odd], options
    if isinstance(inputs, dict):
        return inputs | {draw.choice([*inputs, "a"]): odd}, options
    return [*inputs, odd], options
