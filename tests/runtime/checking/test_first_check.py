"""The check at load: once on each kind of machine, an error or another variant where one fails."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest

from edgepipe import pipeline
from edgepipe.bundle.layout import PROBES_NAME
from edgepipe.checking import verdicts
from edgepipe.errors import BundleError, InputError, VariantError
from tests.runtime.probed_bundle import turn_weights, write_probed_bundle
from tests.runtime.small_bundle import write_bundle, write_foreign, write_graph


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own, and a process that knows no verdict yet."""
    monkeypatch.setenv("EDGEPIPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(verdicts, "_known", {})
    return tmp_path / "cache" / "verdicts"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_probed_bundle(tmp_path / "bundle")


def quietly(*arguments: Any, **options: Any) -> Any:
    """Load without any warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return pipeline(*arguments, **options)


def test_a_variant_that_passes_is_loaded_and_known_from_then_on(folder: Path, cache: Path) -> None:
    assert quietly(model=folder).model.dtype == "fp32"
    assert len(list(cache.iterdir())) == 1
    quietly(model=folder)
    quietly(model=folder, dtype="int8")
    quietly(model=folder, num_threads=1)
    quietly(model=folder, num_threads=2)
    assert len(list(cache.iterdir())) in (3, 4), "each variant and number of threads has its own verdict"


def test_one_that_fails_is_an_error_that_names_those_that_pass(folder: Path) -> None:
    turn_weights(folder, "int8")
    for _ in range(2):  # the second time by its verdict
        with pytest.raises(
            VariantError,
            match=r"int8 does not give here what it gave where it was made: onnxruntime .* computes something else .*"
            r"; fp32 passes here \(dtype=, --dtype\); edgepipe check shows more",
        ):
            pipeline(model=folder, dtype="int8")
    assert pipeline(model=folder, dtype="int8", verify="never").model.dtype == "int8"


def test_another_takes_its_place_where_none_was_asked_for(folder: Path) -> None:
    turn_weights(folder, "fp32")
    with pytest.warns(UserWarning, match=r"fp32 does not give here .*; int8 does, and is taken in its place"):
        task = pipeline(model=folder)
    assert task.model.dtype == "int8"
    with pytest.raises(VariantError, match="int8 passes here"):
        pipeline(model=folder, dtype="fp32")


def test_none_passes(folder: Path) -> None:
    turn_weights(folder, "fp32")
    turn_weights(folder, "int8", 2.0)
    with pytest.raises(VariantError, match="no other variant passes here"):
        pipeline(model=folder)


def test_always_looks_again(folder: Path, cache: Path) -> None:
    quietly(model=folder)
    [path] = cache.iterdir()
    path.write_text('{"cause": "it was made up"}')
    verdicts._known.clear()
    with pytest.raises(VariantError, match="it was made up"):
        pipeline(model=folder, dtype="fp32")
    assert quietly(model=folder, dtype="fp32", verify="always").model.dtype == "fp32"


def test_altered_probes_are_an_error(folder: Path) -> None:
    path = folder / PROBES_NAME
    path.write_text(path.read_text().replace('"plain"', '"plaid"'))
    with pytest.raises(BundleError, match=f"{PROBES_NAME} was altered"):
        pipeline(model=folder)


def test_a_bundle_of_an_earlier_version_is_told_once(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "old")
    with pytest.warns(UserWarning, match=r"has no probes, .* edgepipe verify BUNDLE MODEL --update adds some"):
        pipeline(model=folder)
    verdicts._known.clear()
    quietly(model=folder)


def test_nothing_is_said_of_another_tool_s_directory(tmp_path: Path) -> None:
    write_foreign(tmp_path / "foreign")
    write_graph(tmp_path / "foreign" / "model.onnx")
    quietly(model=tmp_path / "foreign")


def test_a_cache_that_cannot_be_written(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EDGEPIPE_CACHE", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match=r"cannot be kept .*set EDGEPIPE_CACHE to a folder that can be written"):
        pipeline(model=folder)
    quietly(model=folder)  # this process knows it


@pytest.mark.parametrize("verify", ["once", "", None, True, 3])
def test_no_such_mode(folder: Path, verify: Any) -> None:
    with pytest.raises(InputError, match="verify must be one of 'first', 'always', 'never', got"):
        pipeline(model=folder, verify=verify)


def test_a_tokenizer_of_the_caller_s_own(folder: Path) -> None:
    assert quietly(model=folder, tokenizer=folder).model.dtype == "fp32"
