"""Calls of every task beside transformers, with tiny models: the same answers, or both refuse."""

from __future__ import annotations

import functools
import json
import re
import tempfile
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import GeneratorType
from typing import Any

import numpy as np
import torch
import transformers

from edgepipe import pipeline
from edgepipe.arguments import is_whole
from edgepipe.errors import EdgepipeError
from edgepipe_export import export
from edgepipe_export.checkpoint.load import load
from edgepipe_export.checkpoint.resolve import Request, resolve
from edgepipe_export.evaluation.differences import compare_results
from edgepipe_export.evaluation.pytorch_reference import load_pipeline
from tests.fuzz.call_inputs import MAKERS, make_odd
from tests.fuzz.campaign import Campaign, Outcome, describe_error, is_raw
from tests.runtime.tokenization.beside_the_reference import attempt
from tests.tiny import build
from tests.tiny.generative import build_generative

BIO = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
NLI = ("contradiction", "neutral", "entailment")
ROOM = {"n_positions": 160, "max_position_embeddings": 160}


@dataclass(frozen=True)
class Subject:
    """A task with a tiny model.

    Attributes:
        task: Its name.
        make: Makes model and tokenizer.
        weight: How often it is called.
    """

    task: str
    make: Callable[[], tuple[Any, Any]]
    weight: int = 4


SUBJECTS: dict[str, Subject] = {
    "text-classification": Subject("text-classification", lambda: build("bert"), 6),
    "text-classification, several labels": Subject(
        "text-classification",
        lambda: build("roberta", num_labels=4, problem_type="multi_label_classification"),
    ),
    "token-classification": Subject(
        "token-classification", lambda: build("bert", task="token-classification", labels=BIO, num_labels=5), 6
    ),
    "fill-mask": Subject("fill-mask", lambda: build("roberta", task="fill-mask"), 6),
    "zero-shot-classification": Subject(
        "zero-shot-classification", lambda: build("bert", task="zero-shot-classification", labels=NLI)
    ),
    "feature-extraction": Subject("feature-extraction", lambda: build("bert", task="feature-extraction"), 5),
    "question-answering": Subject("question-answering", lambda: build("bert", task="question-answering")),
    "sentence-similarity": Subject("sentence-similarity", lambda: build("bert", task="feature-extraction")),
    "text-generation": Subject("text-generation", lambda: build_generative("gpt2", **ROOM), 3),
    "text2text-generation": Subject("text2text-generation", lambda: build_generative("bart"), 2),
    "summarization": Subject("summarization", lambda: build_generative("t5", tokenizer_name="t5"), 2),
    "translation": Subject("translation", lambda: build_generative("m2m_100", tokenizer_name="nllb"), 2),
}


@dataclass(frozen=True)
class CallCase:
    """A call.

    Attributes:
        subject: A name in SUBJECTS.
        inputs: What the pipeline is called with.
        options: Keyword arguments.
        is_odd: Whether something about it is not as it should be.
    """

    subject: str
    inputs: Any
    options: dict[str, Any]
    is_odd: bool


class Writer:
    """The reference of the tasks of encoder-decoders, which transformers 5 removed: what ``generate`` writes.

    4.57's pipelines encode a text, generate, and decode without special tokens and with all blanks.
    """

    names: Mapping[str, str] = {
        "text2text-generation": "generated_text",
        "summarization": "summary_text",
    }

    def __init__(self, task: str, model: Any, tokenizer: Any) -> None:
        self._name, self._model, self._tokenizer = self.names[task], model, tokenizer

    def __call__(self, text: str, *, truncation: bool, **options: Any) -> Any:
        encoded = self._tokenizer([text], truncation=truncation, return_tensors="pt")
        with torch.no_grad():
            rows = self._model.generate(input_ids=encoded.input_ids, attention_mask=encoded.attention_mask, **options)
        texts = self._tokenizer.batch_decode(rows, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return [{self._name: each} for each in texts]


@functools.cache
def load_both(name: str) -> tuple[Any, Any]:
    """Our pipeline and the reference of a subject; None where there is no reference."""
    transformers.utils.logging.set_verbosity_error()
    subject = SUBJECTS[name]
    model, tokenizer = subject.make()
    generates = subject.task in ("text-generation", "text2text-generation", "summarization", "translation")
    with tempfile.TemporaryDirectory(prefix="edgepipe-fuzz-") as place:
        task = "feature-extraction" if subject.task == "sentence-similarity" else subject.task
        made = export(model, Path(place) / "bundle", task=task, tokenizer=tokenizer, verify=False, progress=False)
        if subject.task == "sentence-similarity":
            write_pooling(made.path)
        ours = pipeline(subject.task, made.path, num_threads=1)
    if subject.task in Writer.names:
        return ours, Writer(subject.task, model, tokenizer)
    if subject.task in ("sentence-similarity", "translation"):
        return ours, None
    if generates:
        reference = transformers.pipeline(subject.task, model=model, tokenizer=tokenizer, device="cpu")
        return ours, reference
    return ours, load_pipeline(subject.task, load(resolve(Request(model, task, tokenizer))))


def write_pooling(folder: Path) -> None:
    """Have a bundle say that its vectors are the means of those of the tokens, as sentence-transformers says it."""
    kinds = {"": "Transformer", "1_Pooling": "Pooling"}
    modules = [
        {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for index, (path, kind) in enumerate(kinds.items())
    ]
    (folder / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    (folder / "1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling), encoding="utf-8")


class CallCampaign(Campaign):
    """See the module."""

    name, unit, count = "calls", "calls", 2_000
    subjects: Mapping[str, Subject] = SUBJECTS

    def prepare(self) -> None:
        for name in self.subjects:
            load_both(name)

    def make(self, index: int) -> CallCase:
        draw = self.draw(index)
        weights = [subject.weight for subject in self.subjects.values()]
        name = draw.choices(list(self.subjects), weights)[0]
        call = MAKERS[self.subjects[name].task](draw)
        is_odd = draw.random() < 0.35
        return CallCase(name, *(make_odd(draw, call) if is_odd else call), is_odd)

    def run(self, case: CallCase) -> Outcome:
        ours, reference = load_both(case.subject)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # Ours goes first: where it refuses what is odd, the reference need not try.
            got = attempt(ours, case.inputs, **case.options)
            if isinstance(got, BaseException) and is_raw(got):
                return Outcome("raw", describe_error(got))
            if isinstance(got, EdgepipeError) and case.is_odd:
                return Outcome("refused")
            if reference is None or (isinstance(reference, Writer) and not isinstance(case.inputs, str)):
                return Outcome("refused" if isinstance(got, EdgepipeError) else "unchecked")
            expected = attempt(reference, case.inputs, **case.options)
        return self._compare(case, ours, expected, got)

    def _compare(self, case: CallCase, ours: Any, expected: Any, got: Any) -> Outcome:
        if isinstance(expected, BaseException):
            if isinstance(got, EdgepipeError):
                return Outcome("refused")
            if is_beyond_limit(ours, case) or is_documented(case, expected):
                return Outcome("unchecked")
            return Outcome("wrong", f"{got!r:.200}, and the reference raises {describe_error(expected)}")
        if isinstance(got, EdgepipeError):
            return Outcome("wrong", f"refused: {got}; the reference answers {expected!r:.200}")
        if isinstance(got, GeneratorType) or case.options.get("do_sample") is True:  # drawn from another generator
            return Outcome("unchecked")
        expected, got = _without_tensors(expected), _without_tensors(got)
        difference = compare_results([case.inputs], [expected], [got], lambda result: {}).first
        if difference is None:
            return Outcome("equal")
        # Of numpy's numbers, of token ids that nobody wants, and of what only rounding decides: docs/reference.
        if (
            any(isinstance(value, np.generic) for value in case.options.values())
            or (case.subject == "text-generation" and case.options.get("return_tensors") is False)
            or is_whole(case.options.get("guidance_scale"), 1_000_000)
        ):
            return Outcome("unchecked")
        return Outcome("wrong", difference)


def _without_tensors(result: Any) -> Any:
    """Arrays and tensors as lists."""
    if isinstance(result, list):
        return [_without_tensors(each) for each in result]
    return result.tolist() if isinstance(result, (torch.Tensor, np.ndarray)) else result


def is_beyond_limit(ours: Any, case: CallCase) -> bool:
    """Whether a text is longer than the model takes: a documented difference, as the reference does not cut it."""
    limit = ours.tokenizer.model_max_length or 64
    texts = case.inputs if isinstance(case.inputs, list) else [case.inputs]
    return any(len(ours.tokenizer(text)["input_ids"]) > limit for text in texts if isinstance(text, str))


# What edgepipe answers though the reference raises: the entries of docs/reference/differences.md.
DOCUMENTED: tuple[Callable[[CallCase, BaseException], bool], ...] = (
    lambda case, error: hasattr(case.inputs, "__len__") and not isinstance(case.inputs, str) and not len(case.inputs),
    lambda case, error: isinstance(case.inputs, (tuple, set, frozenset, range)),
    lambda case, error: "progress" in case.options,
    lambda case, error: isinstance(error, (OverflowError, MemoryError)) or "islice" in str(error),
    lambda case, error: "Overflow when unpacking" in str(error),
    lambda case, error: "has to be a strictly positive float" in str(error),
    lambda case, error: isinstance(ends := case.options.get("eos_token_id"), list) and not ends,
    lambda case, error: "object is not iterable" in str(error) and is_whole(case.options.get("suppress_tokens")),
    lambda case, error: "are not used by the model" in str(error),  # options of a pipeline, which `generate` is not
    lambda case, error: "index k out of range" in str(error),
    lambda case, error: "expanded size of the tensor" in str(error) and "" in case.inputs,
    lambda case, error: "stop_strings" in case.options or "seed" in case.options,
    lambda case, error: is_whole(case.options.get("max_new_tokens"), 1_000_000),
    lambda case, error: any(isinstance(value, np.generic) for value in case.options.values()),
    lambda case, error: None in case.options.values(),
    lambda case, error: bool(re.search("num_workers", repr(case.options))),
)


def is_documented(case: CallCase, error: BaseException) -> bool:
    """Whether it is a documented difference that ours answers."""
    return any(documented(case, error) for documented in DOCUMENTED)
