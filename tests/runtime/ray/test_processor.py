"""A processor in the shape of Ray's own: dataset in, dataset out."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest

import edgepipe
from edgepipe.errors import InputError
from edgepipe.ray import ProcessorConfig, build_processor

ray = pytest.importorskip("ray")


def test_rows_go_through_both_functions(connected: None, bundle: Path) -> None:
    processor = build_processor(
        ProcessorConfig(str(bundle), options={"top_k": 1}, batch_size=4, concurrency=(1, 2)),
        preprocess=lambda row: {"text": f"good {row['title']}", **row},
        postprocess=lambda row: {"title": row["title"], "label": row["output"][0]["label"]},
        preprocess_map_kwargs={"num_cpus": 0.1},
        postprocess_map_kwargs={"num_cpus": 0.1},
    )
    titles = [f"movie {number}" for number in range(20)]
    found = processor(ray.data.from_items([{"title": title} for title in titles])).take_all()
    with edgepipe.pipeline(model=str(bundle)) as classify:
        expected = [{"title": title, "label": classify(f"good {title}")[0]["label"]} for title in titles]
    assert sorted(found, key=lambda row: titles.index(row["title"])) == expected


def test_a_row_that_cannot_be_used_ends_the_work_or_has_an_error(connected: None, bundle: Path) -> None:
    rows = ray.data.from_items([{"text": 3}])
    with pytest.raises(ray.exceptions.RayTaskError, match="the column text has 3"):
        build_processor(ProcessorConfig(str(bundle)))(rows).take_all()
    (row,) = build_processor(ProcessorConfig(str(bundle), should_continue_on_error=True))(rows).take_all()
    assert "the column text has 3" in row["error"]


def test_names_are_those_of_ray_s_own() -> None:
    llm = pytest.importorskip("ray.data.llm")
    ours = set(inspect.signature(build_processor).parameters)
    assert ours <= set(inspect.signature(llm.build_processor).parameters)
    theirs = set(llm.vLLMEngineProcessorConfig.model_fields)
    shared = {"model_source", "batch_size", "concurrency", "accelerator_type", "runtime_env"}
    assert shared | {"should_continue_on_error"} <= theirs


@pytest.mark.parametrize(
    "wrong", [{"concurrency": 0}, {"concurrency": (3, 2)}, {"batch_size": 0}], ids=["none", "upside-down", "batch"]
)
def test_numbers_that_cannot_be_are_an_error(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"concurrency is|batch_size is"):
        ProcessorConfig("bundle", **wrong)
