"""w8-rows beside w8: the same weights, with prompts in integers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from edgepipe import Bundle, pipeline
from edgepipe.backend.machine import saturates
from edgepipe.errors import InputError
from edgepipe.models.decoder.causal import CausalGraph
from edgepipe.models.decoder.decoder_loading import load_decoder
from edgepipe_export import export
from edgepipe_export.quantization.quantize import check_dtypes, quantize
from edgepipe_export.quantization.recipes.w8 import W8Options
from edgepipe_export.quantization.target import Target
from edgepipe_export.tracing.serialization import save_graph
from tests.export.quantization.small_graphs import layered
from tests.tiny.generative import build_generative

exact_sums = pytest.mark.skipif(saturates(), reason="sums of 8-bit products overflow on this processor")

DTYPES = ("w8", "w8-rows")
PROMPT = np.array([[5, 6, 7, 8, 9, 10, 11, 12]])
TEXTS = ["I love this film", "What a waste of time and money, he said", "It rained"]


def write_bundle(folder: Path, family: str, task: str) -> Bundle:
    model, tokenizer = build_generative(family)
    return export(model, folder, tokenizer=tokenizer, task=task, dtypes=("fp32", *DTYPES), verify=False)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_bundle(tmp_path_factory.mktemp("rows") / "llama", "llama", "text-generation")


def read(graph: CausalGraph, ids: NDArray[np.int64], parts: Sequence[int]) -> NDArray[np.float32]:
    """The logits behind each part of some tokens."""
    decoding = graph.begin(ids[:, : parts[0]], np.ones((1, parts[0]), np.int64), ids.shape[1])
    ends = np.cumsum(parts).tolist()
    starts = [0, *ends[:-1]]
    return np.stack([decoding.step(ids[:, first:last]).copy() for first, last in zip(starts, ends, strict=True)])


def test_weights_are_stored_as_in_w8(bundle: Bundle) -> None:
    plain, rows = (onnx.load(bundle.graph(dtype)) for dtype in DTYPES)
    assert [node.op_type for node in rows.graph.node] == [node.op_type for node in plain.graph.node]
    assert bundle.count_bytes("w8-rows") == pytest.approx(bundle.count_bytes("w8"), rel=0.01)
    assert bundle.manifest is not None
    recipes = [dict(bundle.manifest.variants[dtype].recipe) for dtype in DTYPES]
    assert recipes[1] == {**recipes[0], "name": "w8-rows", "integer_products": True}


@exact_sums
def test_prompts_are_in_integers_and_steps_are_those_of_w8(bundle: Bundle) -> None:
    plain, rows = (CausalGraph(bundle, dtype) for dtype in DTYPES)
    assert plain.prompt_session is plain.session
    assert rows.prompt_session is not rows.session
    fp32 = read(CausalGraph(bundle, "fp32"), PROMPT, (8,))
    own, others = read(rows, PROMPT, (8,)), read(plain, PROMPT, (8,))
    assert np.abs(own - others).max() > 0
    assert np.corrcoef(own.ravel(), fp32.ravel())[0, 1] > 0.99
    # Steps are w8's: behind the same keys and values they give the same to the last bit.
    behind = rows.begin(PROMPT[:, :2], np.ones((1, 2), np.int64), 8)
    behind.step(PROMPT[:, :2])
    other = plain.begin(PROMPT[:, :2], np.ones((1, 2), np.int64), 8)
    other.step(PROMPT[:, :2])
    assert behind._cache is not None
    assert other._cache is not None
    other._cache.load([behind._cache.read(0, 2)], 2)
    for column in range(2, 8):
        token = PROMPT[:, column : column + 1]
        np.testing.assert_array_equal(behind.step(token), other.step(token))


def test_a_row_gives_the_same_beside_others(bundle: Bundle) -> None:
    generate = pipeline("text-generation", bundle.path, dtype="w8-rows")
    options = {"max_new_tokens": 12, "do_sample": False}
    alone = [generate(text, **options) for text in TEXTS]
    assert generate(TEXTS, batch_size=3, **options) == alone


def test_a_cached_prefix_changes_no_token(bundle: Bundle) -> None:
    generate = pipeline("text-generation", bundle.path, dtype="w8-rows")
    options = {"max_new_tokens": 12, "do_sample": False}
    head = "What a waste of time and money"
    prompts = [f"{head}, he said", f"{head} and more", head]
    expected = [generate(prompt, **options) for prompt in prompts]
    generate.cache_prefix(head)
    assert [generate(prompt, **options) for prompt in prompts] == expected


@exact_sums
@pytest.mark.parametrize("parts", [(3, 5), (7, 1), (1, 7), (2, 3, 3)], ids=["odd", "one-last", "one-first", "three"])
def test_a_prompt_gives_the_same_in_parts(parts: tuple[int, ...], bundle: Bundle) -> None:
    rows = CausalGraph(bundle, "w8-rows")
    whole = read(rows, PROMPT, (8,))[-1]
    if parts[-1] == 1:  # a token behind others is a step, in another form
        assert np.abs(read(rows, PROMPT, parts)[-1] - whole).max() > 0
    else:
        np.testing.assert_allclose(read(rows, PROMPT, parts)[-1], whole, atol=1e-5)


def test_beams_and_samples_run(bundle: Bundle) -> None:
    generate = pipeline("text-generation", bundle.path, dtype="w8-rows")
    for options in ({"num_beams": 3, "do_sample": False}, {"do_sample": True, "seed": 1, "num_return_sequences": 2}):
        found = generate(TEXTS[0], max_new_tokens=6, **options)
        assert all(each["generated_text"].startswith(TEXTS[0]) for each in found)
        assert found == generate(TEXTS[0], max_new_tokens=6, **options)


@exact_sums
def test_perplexity_is_measured_on_prompts(bundle: Bundle) -> None:
    ids, mask = PROMPT, np.ones_like(PROMPT)
    rows = CausalGraph(bundle, "w8-rows")
    found = rows.scores(ids, mask)
    np.testing.assert_array_equal(found[:, -1], read(rows, ids, (8,))[0])
    assert np.abs(found - CausalGraph(bundle, "w8").scores(ids, mask)).max() > 0


def test_a_closed_model_lets_both_graphs_go(bundle: Bundle) -> None:
    rows = CausalGraph(bundle, "w8-rows")
    rows.close()
    assert rows.session.closed
    assert rows.prompt_session.closed


def test_a_session_of_the_caller_s_options_has_one_graph(bundle: Bundle) -> None:
    import onnxruntime

    from edgepipe.backend.session import SessionConfig

    options = onnxruntime.SessionOptions()
    rows = CausalGraph(bundle, "w8-rows", SessionConfig(session_options=options))
    assert rows.prompt_session is rows.session
    np.testing.assert_array_equal(read(rows, PROMPT, (8,)), read(CausalGraph(bundle, "w8"), PROMPT, (8,)))


def test_where_sums_overflow_prompts_are_those_of_w8(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgepipe.models.variants.saturates", lambda: True)
    rows = CausalGraph(bundle, "w8-rows")
    assert rows.prompt_session is rows.session
    np.testing.assert_array_equal(read(rows, PROMPT, (8,)), read(CausalGraph(bundle, "w8"), PROMPT, (8,)))


@exact_sums
def test_an_encoder_is_in_integers_alone(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bart", "bart", "summarization")
    plain, rows = (load_decoder(bundle, dtype) for dtype in DTYPES)
    ids, mask = PROMPT, np.ones_like(PROMPT)

    def first(decoder: CausalGraph) -> NDArray[np.float32]:
        return decoder.begin(ids, mask).step(np.array([[2]])).copy()

    exact, near, own = (first(each) for each in (load_decoder(bundle, "fp32"), plain, rows))
    assert np.abs(own - near).max() > 0
    assert np.corrcoef(own.ravel(), exact.ravel())[0, 1] > 0.98
    summarize = [pipeline("summarization", bundle.path, dtype=dtype) for dtype in DTYPES]
    assert all(each(TEXTS[1], max_new_tokens=5)[0]["summary_text"] is not None for each in summarize)


@pytest.mark.parametrize("target", ["openvino", "cuda"])
def test_it_is_for_processors(target: str) -> None:
    with pytest.raises(InputError, match=f"w8-rows is not for the target {target}"):
        check_dtypes("w8-rows", Target(target))


def test_products_in_fp32_are_refused(tmp_path: Path) -> None:
    save_graph(layered(), tmp_path / "source.onnx")
    with pytest.raises(InputError, match="prompts in integers take accuracy_level=4, got 1"):
        quantize(
            "w8-rows",
            tmp_path / "source.onnx",
            tmp_path / "model.onnx",
            Target("vnni"),
            options=W8Options(accuracy_level=1),
        )
