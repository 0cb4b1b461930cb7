"""What a task does with a probe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepipe import pipeline
from edgepipe.backend.session import SessionConfig
from edgepipe.checking.probe_runs import compute_rows, decode_made_up, describe_machine, encode_inputs, sketch_rows
from edgepipe.checking.probes import Probe
from tests.runtime.small_bundle import LABELS, expected_logits, write_bundle

OPTIONS = {"top_k": None}


@pytest.fixture(scope="module")
def classify(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return pipeline(model=write_bundle(tmp_path_factory.mktemp("probes")), num_threads=1)


def probe(classify: Any, *texts: str) -> Probe:
    return Probe("plain", texts, encode_inputs(classify, texts, OPTIONS))


def test_tokens_are_those_of_the_task(classify: Any) -> None:
    pieces = encode_inputs(classify, ["a b c", "x"], OPTIONS)
    assert [piece["input_ids"] for piece in pieces] == [
        classify.tokenizer(text)["input_ids"] for text in ("a b c", "x")
    ]


def test_outputs_are_those_of_the_graph(classify: Any) -> None:
    made = probe(classify, "a b c", "a much longer text than that")
    rows = sketch_rows(compute_rows(classify, made))
    wanted = [expected_logits("fp32", [piece["input_ids"]])[0] for piece in made.pieces]
    assert np.allclose([row["logits"].values for row in rows], wanted, atol=1e-4)
    assert [row["logits"].best for row in rows] == [(int(each.argmax()),) for each in wanted]


def test_results_of_made_up_outputs_do_not_depend_on_the_model(classify: Any, tmp_path: Path) -> None:
    other: Any = pipeline(model=write_bundle(tmp_path, ("int8",)))
    made = probe(classify, "a b c", "x")
    found = [decode_made_up(task, made, compute_rows(task, made), OPTIONS) for task in (classify, other)]
    assert found[0] == found[1]
    assert [{entry["label"] for entry in result} for result in found[0]] == [set(LABELS)] * 2
    assert found[0][0] != found[0][1], "no two numbers that are made up are equal"


def test_results_that_are_long_are_left_out(classify: Any) -> None:
    made = probe(classify, *["a b c"] * 60)
    assert decode_made_up(classify, made, compute_rows(classify, made), OPTIONS) is None


def test_the_machine_has_what_decides_rounding(classify: Any) -> None:
    found = describe_machine(classify, SessionConfig())
    assert found["engine"].startswith("onnxruntime 1.")
    assert found["providers"] == ["CPUExecutionProvider"]
    assert isinstance(found["instructions"], list)
