"""The file of probes: what it may hold, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgepipe.bundle.layout import PROBES_NAME
from edgepipe.checking.probes import MOST_BYTES, Probe, Probes
from edgepipe.checking.sketch import Sketch
from edgepipe.errors import BundleError

ROW = {"logits": Sketch((3,), (1.0, 2.0, 3.0), (2,), (1.0,))}
PROBE = Probe("border", ("a b c",), ({"input_ids": [1, 2], "attention_mask": [1, 1]},), (), [{"label": "good"}])
WRITTEN = Probe("script", ("a",), ({"input_ids": [1]},), (5, 6, 7), ["b c d"])
MADE = Probes(
    "text-classification",
    {"top_k": None},
    "built-in",
    (PROBE, WRITTEN),
    {"fp32": ((ROW,), (ROW, ROW)), "int8": ((ROW,), (ROW,))},
    {"int8": {"engine": "onnxruntime 1.32.0", "instructions": ["avx2"]}},
    {"int8": 1e-4},
)


def write(folder: Path, record: Any) -> Path:
    (folder / PROBES_NAME).write_text(record if isinstance(record, str) else json.dumps(record), encoding="utf-8")
    return folder


def test_it_comes_back_as_it_was_written(tmp_path: Path) -> None:
    assert Probes.load(write(tmp_path, MADE.to_json())) == MADE


def test_only_ascii_is_written() -> None:
    """Whatever a text holds, halves of characters too."""
    odd = Probe("script", ("日本\ud800",), ({"input_ids": [1]},))
    made = Probes("ner", {}, "built-in", (odd,), {"fp32": ((ROW,),)}, {}, {})
    assert made.to_json().isascii()


def test_a_newer_schema(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="has schema version 2, this edgepipe reads up to 1; upgrade edgepipe"):
        Probes.load(write(tmp_path, {"schema_version": 2}))


def test_an_enormous_file(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=f"has {MOST_BYTES + 2:,} bytes"):
        Probes.load(write(tmp_path, '"' + "x" * MOST_BYTES + '"'))


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is missing"):
        Probes.load(tmp_path)


def damage(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(MADE.to_json())
    change(record)
    return record


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda record: record.pop("probes"), id="no_probes"),
        pytest.param(lambda record: record.update(probes=3), id="probes_a_number"),
        pytest.param(lambda record: record["probes"].pop(), id="a_probe_too_few"),
        pytest.param(lambda record: record["probes"][0].update(pieces=[]), id="no_pieces"),
        pytest.param(lambda record: record["probes"][0]["pieces"][0].pop("input_ids"), id="no_ids"),
        pytest.param(lambda record: record["probes"][0]["pieces"][0].update(input_ids=["x"]), id="ids_of_text"),
        pytest.param(lambda record: record["probes"][0]["pieces"][0].update(input_ids=[-1]), id="ids_below_zero"),
        pytest.param(lambda record: record["probes"][1].update(following=[1.5]), id="following_of_parts"),
        pytest.param(lambda record: record["outputs"].pop("fp32"), id="no_fp32"),
        pytest.param(lambda record: record["outputs"].pop("int8"), id="no_outputs_of_int8"),
        pytest.param(lambda record: record["outputs"]["int8"].pop(), id="outputs_too_few"),
        pytest.param(lambda record: record["outputs"]["int8"][0][0].update(logits=3), id="no_sketch"),
        pytest.param(lambda record: record["tolerances"].update(int8="0.1"), id="tolerance_a_text"),
        pytest.param(lambda record: record["tolerances"].update(int8=None), id="tolerance_none"),
        pytest.param(lambda record: record.update(machines={}), id="no_machine"),
        pytest.param(lambda record: record.update(task=None), id="no_task"),
    ],
)
def test_damage_is_named(tmp_path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    with pytest.raises(BundleError, match=rf"{PROBES_NAME} is damaged: .*export or download the bundle again"):
        Probes.load(write(tmp_path, damage(change)))
