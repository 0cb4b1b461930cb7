"""The columns of every task: their types hold what the pipeline gives, and all of it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from edgepipe import pipeline
from edgepipe.errors import InputError
from edgepipe.mapping.batch_mapper import choose_embedding
from edgepipe.mapping.result_columns import ResultColumns

TEXT = pa.schema([("text", pa.string())])
CHAT = pa.schema([("chat", pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())])))])
MESSAGES = [{"role": "user", "content": "Hello"}]
TEMPLATE = "{% for m in messages %}{{ m.content }}{% endfor %}"
QUESTION = {"question": "Where does Sarah live?", "context": "Sarah lives in Rome, and elsewhere."}
GREEDY = {"max_new_tokens": 4, "do_sample": False, "num_beams": 1}
MASK = "A [MASK] text"

# A bundle's name, its options, an input, and the results' columns that are wanted.
CASES: Mapping[str, tuple[str, Mapping[str, Any], Any, tuple[str, ...]]] = {
    "label": ("mood", {}, "good", ("label", "score")),
    "labels": ("mood", {"top_k": None}, "good", ("output",)),
    "entities": ("entities", {}, QUESTION["context"], ("output",)),
    "grouped": ("entities", {"aggregation_strategy": "simple"}, QUESTION["context"], ("output",)),
    "answer": ("answers", {}, QUESTION, ("score", "start", "end", "answer")),
    "answers": ("answers", {"top_k": 3}, QUESTION, ("output",)),
    "one-of-answers": ("answers", {"top_k": 1}, QUESTION, ("output",)),
    "mask": ("masks", {"top_k": 2}, MASK, ("output",)),
    "masks": ("masks", {"top_k": 2}, MASK + " and [MASK]", ("output",)),
    "zero-shot": ("zero", {"candidate_labels": ["a", "b"]}, "good", ("labels", "scores")),
    "hidden": ("hidden", {}, "good", ("output",)),
    "story": ("stories", GREEDY, "Once", ("generated_text",)),
    "stories": ("stories", {**GREEDY, "num_return_sequences": 2, "do_sample": True, "seed": 1}, "Once", ("output",)),
    "ids": ("stories", {**GREEDY, "return_tensors": True}, "Once", ("generated_token_ids",)),
    "rewrite": ("rewrites", GREEDY, "Once", ("generated_text",)),
    "summary": ("summaries", GREEDY, "Once", ("summary_text",)),
    "translation": ("translations", GREEDY, "Once", ("translation_text",)),
}


@pytest.mark.parametrize("case", CASES)
def test_a_result_is_in_its_columns(tiny_bundles: Mapping[str, Path], case: str) -> None:
    name, options, item, columns = CASES[case]
    with pipeline(model=tiny_bundles[name], **options) as task:
        found = ResultColumns(task, TEXT, "text")
        result = next(task(iter([item])))
    assert tuple(found.fields) == (*columns, "error")
    arrays = dict(zip(found.fields, found.make_arrays([result, None], [None, "no"]), strict=True))
    assert arrays.pop("error").to_pylist() == [None, "no"]
    for name, array in arrays.items():
        assert array.type == found.fields[name]
        assert array[1].as_py() is None
    assert {name: array[0].as_py() for name, array in arrays.items()} == plain(task, result, columns)


def plain(task: Any, result: Any, columns: tuple[str, ...]) -> dict[str, Any]:
    """A result as cells."""
    if columns == ("output",):
        nested = task.name == "fill-mask" and not isinstance(result[0], list)
        return {"output": [result] if nested or isinstance(result, dict) else result}
    [result] = result if isinstance(result, list) else [result]
    return {name: result[name] for name in columns}


def test_similarities(tiny_bundles: Mapping[str, Path]) -> None:
    with pipeline("sentence-similarity", tiny_bundles["sentences"]) as task:
        found = ResultColumns(task, TEXT, "text")
        result = task({"source_sentence": "a", "sentences": ["b", "c"]})
    [output, _] = found.make_arrays([result], [None])
    assert output.to_pylist() == [result]


def test_a_chat_comes_back_with_its_answer(tiny_bundles: Mapping[str, Path], tmp_path: Path) -> None:
    bundle = shutil.copytree(tiny_bundles["stories"], tmp_path / "bundle")
    (bundle / "chat_template.jinja").write_text(TEMPLATE)
    with pipeline(model=bundle, **GREEDY) as task:
        result = task(MESSAGES)
        found = ResultColumns(task, CHAT, "chat")
        [text, _] = found.make_arrays([result], [None])
    assert text.to_pylist() == [result[0]["generated_text"]]
    assert [message["role"] for message in text[0].as_py()] == ["user", "assistant"]


def test_vectors_are_lists_of_one_length(tiny_bundles: Mapping[str, Path]) -> None:
    with pipeline("feature-extraction", tiny_bundles["sentences"]) as task:
        embedding = choose_embedding(task, {"truncate_dim": 8, "normalize_embeddings": True})
        found = ResultColumns(task, TEXT, "text", embedding)
        files = ResultColumns(task, TEXT, "text", embedding, fixed_size=False)
        vector = task.embed("good", truncate_dim=8, normalize_embeddings=True)
    assert found.fields == {"embedding": pa.list_(pa.float32(), 8), "error": pa.string()}
    [array, _] = found.make_arrays([vector, None], [None, "no"])
    assert array.to_pylist() == [vector.tolist(), None]
    assert files.fields["embedding"] == pa.list_(pa.float32())


def test_names_that_the_table_has_get_a_prefix(small: Path) -> None:
    schema = pa.schema([("text", pa.string()), ("label", pa.int64()), ("error", pa.string())])
    with pipeline(model=small) as task:
        found = ResultColumns(task, schema, "text")
    assert tuple(found.fields) == ("predicted_label", "score", "predicted_error")
    assert found.error == "predicted_error"


def test_options_of_vectors_are_for_those_who_make_them(small: Path) -> None:
    with pipeline(model=small) as task:
        assert choose_embedding(task, {}) is None
        with pytest.raises(InputError, match="pooling is for vectors, and text-classification makes none"):
            choose_embedding(task, {"pooling": "mean"})
