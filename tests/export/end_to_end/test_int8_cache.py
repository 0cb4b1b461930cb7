"""Decoders whose keys and values are in 8 bits: a quarter of the memory, and what a text gives does not depend on how
it is read.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgepipe import Bundle, pipeline
from edgepipe.backend.session import SessionConfig
from edgepipe.bundle.layout import MODEL
from edgepipe.generation.config import GenerationConfig
from edgepipe.generation.continuous_batching import ContinuousBatch
from edgepipe.generation.generate import generate
from edgepipe.models.decoder.decoder_loading import load_decoder
from edgepipe.models.kv_memory import count_token_bytes
from edgepipe.tokenization.tokenizer import Tokenizer
from edgepipe_export import export
from edgepipe_export.calibration.dataset import Dataset
from edgepipe_export.calibration.split import measure_all
from edgepipe_export.evaluation.checks import Check, Comparison
from edgepipe_export.evaluation.comparison import scale_cache
from edgepipe_export.evaluation.tolerances import Tolerance
from edgepipe_export.output.workspace import Workspace
from edgepipe_export.quantization.int8_cache.cache_scales import CacheScales
from edgepipe_export.quantization.target import find_target
from edgepipe_export.selection.evaluator import Evaluator
from tests.tiny.generative import WINDOW, build_generative

# Queries that share keys, scores with a bound, a layer that sees all, and one with a window.
FAMILY = "gemma2"
TEXT = "Hello there, my friend, what a waste of time. I want my money back, all of it"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    model, tokenizer = build_generative(FAMILY)
    return export(
        model,
        tmp_path_factory.mktemp("caches") / "bundle",
        tokenizer=tokenizer,
        dtypes=("fp32", "w8"),
        kv_cache_dtype="int8",
        verify=False,
        progress=False,
    )


@pytest.fixture(scope="module")
def decoder(bundle: Bundle) -> Any:
    return load_decoder(bundle, "w8", SessionConfig(num_threads=1))


def ids_of(bundle: Bundle, text: str = TEXT) -> NDArray[np.int64]:
    return np.array([Tokenizer.from_pretrained(bundle.path)(text)["input_ids"]], np.int64)


def read(decoder: Any, ids: NDArray[np.int64], *parts: int, mask: NDArray[np.int64] | None = None) -> NDArray[Any]:
    """The scores behind each part of some rows, float32[parts, rows, vocabulary]."""
    decoding = decoder.begin(ids[:, : parts[0]], np.ones_like(ids) if mask is None else mask, ids.shape[1])
    ends = np.cumsum(parts).tolist()
    return np.stack([decoding.step(ids[:, end - part : end]) for part, end in zip(parts, ends, strict=True)])


def test_a_token_takes_a_quarter(bundle: Bundle, decoder: Any) -> None:
    exact: Any = load_decoder(bundle, "fp32", SessionConfig(num_threads=1))
    assert 4 * count_token_bytes(decoder._layers) == count_token_bytes(exact._layers)
    assert 4 * decoder.count_cache_bytes(2, 1, 8, 30) == exact.count_cache_bytes(2, 1, 8, 30)
    assert decoder.shares
    assert bundle.cache_dtype("w8") == "int8"
    assert bundle.cache_dtype("fp32") is None
    manifest = bundle.manifest
    assert manifest is not None
    recipe = manifest.variants["w8"].recipe
    assert recipe["kv_cache"]["headroom"] == 1.25
    assert recipe["calibrated"]["inputs"] == 64


def test_scores_are_close_to_those_of_fp32(bundle: Bundle, decoder: Any) -> None:
    ids = ids_of(bundle)
    exact: Any = load_decoder(bundle, "fp32", SessionConfig(num_threads=1))
    parts = (ids.shape[1] - 4, 1, 1, 1, 1)
    expected, found = read(exact, ids, *parts), read(decoder, ids, *parts)
    assert np.corrcoef(expected.ravel(), found.ravel())[0, 1] > 0.95
    assert np.abs(expected - found).max() > 0


def test_a_text_gives_the_same_whatever_parts_it_is_read_in(bundle: Bundle, decoder: Any) -> None:
    ids = ids_of(bundle)
    length = ids.shape[1]
    assert length > 20
    whole = read(decoder, ids, length)[-1]
    for parts in ([length - 1, 1], [2, length - 2], [1] * length, [length - 17, 17]):
        np.testing.assert_allclose(read(decoder, ids, *parts)[-1], whole, atol=2e-2 * np.abs(whole).max())
    every = decoder.scores(ids, np.ones_like(ids))[0]
    np.testing.assert_allclose(every[-1], whole[0], atol=2e-2 * np.abs(whole).max())


def test_a_row_gives_the_same_beside_others(bundle: Bundle, decoder: Any) -> None:
    ids = ids_of(bundle)
    length, padding = ids.shape[1], 3
    rows = np.repeat(ids, 2, axis=0)
    mask = np.ones_like(rows)
    rows[1, padding:], rows[1, :padding], mask[1, :padding] = ids[0, padding:], 0, 0
    parts = (length - 2, 1, 1)
    found = read(decoder, rows, *parts, mask=mask[:, : parts[0]])
    for row, own in enumerate((ids, ids[:, padding:])):
        alone = read(decoder, own, own.shape[1] - 2, 1, 1)
        np.testing.assert_allclose(found[:, row], alone[:, 0], atol=2e-2 * np.abs(alone).max())


def test_prefixes_beams_and_batches_give_what_a_text_gives_alone(bundle: Bundle) -> None:
    head, tails = "Hello there, my friend, what a waste of time. ", ["I want", "The 2nd"]
    prompts = [head + tail for tail in tails]
    call = {"do_sample": False, "max_new_tokens": 10, "return_full_text": False}
    with pipeline(model=bundle.path, dtype="w8", num_threads=1, verify="never") as write:
        alone = [write(prompt, **call) for prompt in prompts]
        assert write(prompts, batch_size=2, **call) == alone
        beams = write(prompts[0], num_beams=3, **call)
        write.cache_prefix(head)
        assert [write(prompt, **call) for prompt in prompts] == alone
        assert write(prompts[0], num_beams=3, **call) == beams


def test_requests_side_by_side(bundle: Bundle, decoder: Any) -> None:
    tokenizer = Tokenizer.from_pretrained(bundle.path)
    config = GenerationConfig(max_new_tokens=8)
    prompts = [ids_of(bundle, text)[0] for text in ("a man", TEXT, "12")]
    batch = ContinuousBatch(decoder, tokenizer, prompt_chunk=8)
    written: dict[Any, list[int]] = {batch.add(ids, config): [] for ids in prompts}
    while len(batch):
        for step in batch.step():
            assert step.token is not None
            written[step.running].append(step.token)
    for ids, tokens in zip(prompts, written.values(), strict=True):
        rows = np.array([ids])
        assert tokens == generate(decoder, rows, np.ones_like(rows), config)[0][0].token_ids


def test_a_window_is_kept_alone(decoder: Any) -> None:
    assert decoder.window == WINDOW
    assert 2 * count_token_bytes(decoder._windowed) == count_token_bytes(decoder._layers)


@pytest.fixture
def workspace(bundle: Bundle, tmp_path: Path) -> Workspace:
    """The fp32 graph alone."""
    folder = Path(shutil.copytree(bundle.path, tmp_path / "bundle"))
    assert bundle.manifest is not None
    manifest = replace(bundle.manifest, variants={"fp32": bundle.manifest.variants["fp32"]})
    return Workspace(folder, manifest, (MODEL,), find_target("vnni"))


def test_a_loss_that_is_too_large_is_refused(bundle: Bundle, decoder: Any, workspace: Workspace) -> None:
    coarse = np.full((2, 16), 50.0, np.float32)
    shapes = {name: shape[:2] for name, shape in decoder._layers.items()}
    workspace.cache_scales = CacheScales({name: np.resize(coarse, shape) for name, shape in shapes.items()}, 1, 1)
    workspace.make("w8")
    data = measure_all(Dataset((TEXT,), None, "texts"))
    evaluator = Evaluator(workspace, Passing(), data, Tolerance())
    evaluator.measure()
    found = evaluator.measured["w8"]
    assert [check.passed for check in found.checks] == [True, False]
    assert found.checks[1].figures["cache_perplexity"] > 1.01 * found.checks[1].figures["reference_cache_perplexity"]
    assert evaluator.repairable == (), "other weights do not mend it"
    assert evaluator.select(("fp32", "w8")) == ("fp32",)
    assert "cache_perplexity" in str(evaluator.left_out)


def test_what_it_is_compared_with_has_a_cache_in_fp32(workspace: Workspace, tmp_path: Path) -> None:
    workspace.cache_scales = scale_cache(workspace.bundle, Dataset((TEXT,), None, "texts"))
    workspace.make("w8")
    assert "kv_cache" in workspace.key("w8")
    assert workspace.quantizes_cache("w8")
    assert not workspace.quantizes_cache("fp32")
    plain = workspace.copy_with_fp32_cache("w8", tmp_path / "plain")
    assert (plain.cache_dtype("w8"), workspace.bundle.cache_dtype("w8")) == (None, "int8")
    ids = ids_of(plain)
    parts = (ids.shape[1] - 2, 1, 1)
    exact, rounded = (
        read(load_decoder(each, "w8", SessionConfig(num_threads=1)), ids, *parts) for each in (plain, workspace.bundle)
    )
    assert 0 < np.abs(exact - rounded).max() < 0.5 * np.abs(exact).max()


class Passing(Comparison):
    """Whatever a variant gives, it passes."""

    texts = (TEXT,)

    def check(self, dtype: str, reference: str, *rest: Any) -> list[Check]:
        return [Check("tensors", dtype, reference, 1, {}, 1.0, "a bound", True)]

    check_fp32 = measure = check  # type: ignore[assignment]

    def count_steps(self, dtype: str) -> int:
        return 1

    def timed_run(self, dtype: str, bundle: Bundle) -> Any:
        raise NotImplementedError

    distance = calibration_distance = timed_run  # type: ignore[assignment]
