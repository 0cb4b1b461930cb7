"""Every head that transformers' auto classes have for our architectures is exported, or refused in one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from edgepipe.errors import CheckpointError, ExportError
from edgepipe_export import export
from edgepipe_export.checkpoint.architectures import require_exportable
from edgepipe_export.checkpoint.unsupported import HEADS_WITHOUT_TASK
from tests.tiny import TABLES, build
from tests.tiny.coverage import list_unexplained, render_count
from tests.tiny.generative import build_generative
from tests.tiny.heads_of_transformers import (
    LOADED_OTHERWISE,
    WITH_TASK,
    count_heads_without_task,
    find_heads,
    model_types,
    types_that_write,
)
from tests.tiny.measurement import Cell
from tests.tiny.table import ARCHITECTURES, MORE

READ = {entry.model_type for entry in (*ARCHITECTURES.values(), *MORE.values())}
WRITTEN = ("MODEL_FOR_CAUSAL_LM", "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM")


def test_there_is_no_head_that_nobody_decided_about() -> None:
    decided = WITH_TASK | LOADED_OTHERWISE.keys() | {table for table, _ in HEADS_WITHOUT_TASK.values()}
    undecided = {(kind, table) for kind in model_types() for table in find_heads(kind) - decided}
    assert undecided == set()


@pytest.mark.parametrize("table", WRITTEN)
def test_every_head_that_writes_has_a_tiny_model(table: str) -> None:
    assert {kind for kind in model_types() if table in find_heads(kind)} - types_that_write(table) == set()


def test_every_head_that_reads_has_a_tiny_model() -> None:
    tables = {name.removesuffix("_MAPPING_NAMES") for name in TABLES.values()}
    assert {kind for kind in model_types() - READ if tables & find_heads(kind)} == set()


def test_each_head_without_a_task_is_found_somewhere() -> None:
    assert all(number > 0 for ending, number in count_heads_without_task().items())


@pytest.mark.parametrize(
    ("architecture", "name"),
    [
        ("bert", "BertForMultipleChoice"),
        ("bert", "BertForNextSentencePrediction"),
        ("layoutlm", "LayoutLMForQuestionAnswering"),
    ],
)
def test_heads_without_a_task_are_refused_with_what_they_do(architecture: str, name: str, tmp_path: Path) -> None:
    import transformers

    body, tokenizer = build(architecture, task="feature-extraction")
    model: Any = getattr(transformers, name)(body.config)
    reason = next(reason for ending, (_, reason) in HEADS_WITHOUT_TASK.items() if name.endswith(ending))
    with pytest.raises(CheckpointError) as caught:
        export(model, tmp_path / "bundle", tokenizer=tokenizer)
    assert f"is a {name}: {reason}; its features are exported with" in str(caught.value)


@pytest.mark.parametrize(("family", "config"), [("bert", {"is_decoder": False}), ("xlm", {"causal": False})])
def test_encoders_do_not_write(family: str, config: dict[str, Any], tmp_path: Path) -> None:
    model, tokenizer = build_generative(family, **config)
    with pytest.raises(ExportError, match="cannot be exported exactly: "):
        export(model, tmp_path / "bundle", task="text-generation", tokenizer=tokenizer)


@pytest.mark.parametrize("architecture", ["marian", "blenderbot"])
def test_bodies_whose_decoder_wants_a_text_are_refused(architecture: str, tmp_path: Path) -> None:
    model, tokenizer = build(architecture, task="feature-extraction")
    with pytest.raises(ValueError, match="decoder_input_ids"):
        model(torch.ones((1, 2), dtype=torch.int64))
    with pytest.raises(ExportError, match="its decoder wants a text of its own"):
        export(model, tmp_path / "bundle", task="feature-extraction", tokenizer=tokenizer)


def test_linear_attention_is_refused(tmp_path: Path) -> None:
    model, tokenizer = build("lara_mini", task="feature-extraction")
    with pytest.raises(ExportError, match="it computes its recurrence in chunks"):
        export(model, tmp_path / "bundle", task="feature-extraction", tokenizer=tokenizer)


@pytest.mark.parametrize("architecture", ["mbart", "plbart"])
def test_a_base_whose_padding_is_the_token_1_takes_a_text_alone(architecture: str) -> None:
    model, _ = build(architecture, task="feature-extraction")
    assert model.config.pad_token_id == 1
    require_exportable(model)  # they look for the last token that is no padding


def test_the_count_of_coverage() -> None:
    cells = {
        ("bert", "fill-mask"): Cell(1e-6, {"tensors": None, "top_k=2": None}),
        ("fnet", "fill-mask"): Cell(1e-3, {"tensors": "differs by 0.001", "top_k=2": None}),
        ("mra", "fill-mask"): Cell(refused="on CUDA only"),
        ("odd", "generation"): Cell(1e-6, {"tensors": None, "greedy": "another token"}),
        ("new", "generation"): Cell(failed="ValueError: no"),
    }
    assert render_count(cells, whole=False).splitlines()[2:] == [
        "| fill-mask | 3 | 3 | 1 | 1 | 0 |",
        "| generation | 2 | 1 | 0 | 0 | 2 |",
        "| all | 5 | 4 | 1 | 1 | 2 |",
    ]
    assert list_unexplained(cells) == ["odd, generation, greedy: another token", "new, generation: ValueError: no"]
    assert render_count({}, whole=True).count("…For") == 3
