"""Each pair on the page for those who come from optimum gives the same results, each half where it is at home."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from edgepipe_export import export
from tests.documentation.pages import Snippet, snippets
from tests.documentation.run_page import run_elsewhere
from tests.golden.compare import assert_same
from tests.interop.environments import optimum_python
from tests.tiny import build
from tests.tiny.generative import build_generative

PAGE = "docs/how-to/from-optimum.md"
EXPORTED_BY_OPTIMUM = Path(__file__).parents[1] / "data" / "foreign" / "optimum-text-classification"
# Each checkpoint of the page: its task, and arguments of ``tests.tiny.build``.
CHECKPOINTS: dict[str, tuple[str, dict[str, Any]]] = {
    "classifier": ("text-classification", {"labels": ("bad", "fair", "good")}),
    "tagger": ("token-classification", {"labels": ("O", "B-PER", "I-PER", "B-LOC", "I-LOC"), "seed": 3}),
    "reader": ("question-answering", {}),
    "filler": ("fill-mask", {}),
    "entailment": ("zero-shot-classification", {"labels": ("contradiction", "neutral", "entailment")}),
    "encoder": ("feature-extraction", {}),
}
WRITERS = {"writer": ("gpt2", "text-generation"), "summarizer": ("t5", "summarization")}


def pairs() -> list[tuple[Snippet, Snippet]]:
    """The Python on the page, optimum's and ours in turns."""
    python = [snippet for snippet in snippets(PAGE) if snippet.language == "python"]
    return list(zip(python[::2], python[1::2], strict=True))


def name(pair: tuple[Snippet, Snippet]) -> str:
    """What a pair is about: the class of optimum's half, and the name of ours."""
    theirs = re.findall(r"ORTModelFor\w+", pair[0].code)
    ours = re.findall(r'"\./([\w-]+)"', pair[1].code)
    return f"{theirs[0]}-{ours[0]}"


each_pair = pytest.mark.parametrize("pair", pairs(), ids=name)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the checkpoints of the page and their bundles, and what optimum exported."""
    folder = tmp_path_factory.mktemp("optimum")
    for checkpoint, (task, arguments) in CHECKPOINTS.items():
        build("bert", task=task, directory=folder / checkpoint, **arguments)
        export(folder / checkpoint, folder / f"{checkpoint}-bundle", task=task, verify=False)
    for checkpoint, (family, task) in WRITERS.items():
        build_generative(family, directory=folder / checkpoint)
        export(folder / checkpoint, folder / f"{checkpoint}-bundle", task=task, verify=False)
    (folder / "exported-by-optimum").symlink_to(EXPORTED_BY_OPTIMUM)
    return folder


def run_ours(snippet: Snippet) -> Any:
    """The result of our half, as JSON has it."""
    names: dict[str, Any] = {}
    exec(compile("\n" * (snippet.line - 1) + snippet.code, PAGE, "exec"), names)
    return json.loads(json.dumps(names["result"], default=lambda value: value.tolist()))


def test_the_halves_of_a_pair_are_optimum_s_and_ours() -> None:
    for theirs, ours in pairs():
        assert theirs.code.startswith("from optimum.onnxruntime import ORTModelFor")
        assert ours.code.startswith("from edgepipe import ")


@each_pair
def test_our_half_runs(pair: tuple[Snippet, Snippet], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    result = run_ours(pair[1])
    assert result
    assert isinstance(result, (list, dict))


@pytest.mark.environments
@each_pair
def test_both_halves_agree(pair: tuple[Snippet, Snippet], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs, ours = pair
    monkeypatch.chdir(folder)
    if "./exported-by-optimum" in theirs.code:
        (folder / "exported-by-optimum").unlink()
    told = run_elsewhere(optimum_python(), theirs.code, "result")
    assert_same(run_ours(ours), told)
