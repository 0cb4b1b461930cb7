"""One cell of coverage: an architecture with a head, exported once, its tensors and calls beside the reference."""

from __future__ import annotations

import dataclasses
import json
import sys
import tempfile
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from edgepipe.errors import ExportError
from tests.tiny import heads
from tests.tiny.calls import compare_calls
from tests.tiny.generation import OPTIONS, SEARCHES, compare_tokens, export_generative, largest_difference
from tests.tiny.generative import FAMILIES
from tests.tiny.parity import compare, export_tiny
from tests.tiny.table import ARCHITECTURES, MORE

PACKAGES = ("torch", "transformers", "onnx", "onnxscript", "onnxruntime")
GENERATION = "generation"

# Between the class's name and the reason.
_EXACTLY = " cannot be exported exactly: "


@dataclass(frozen=True)
class Cell:
    """What was measured of an architecture with a head.

    Attributes:
        largest: The largest difference of any tensor from PyTorch; None where nothing was exported.
        calls: What differs with each option; None where nothing does. ``tensors`` is one of them.
        refused: Why it is refused, in one sentence; None where it is not.
        failed: What went wrong otherwise.
    """

    largest: float | None = None
    calls: dict[str, str | None] = field(default_factory=dict)
    refused: str | None = None
    failed: str | None = None


def all_pairs() -> list[tuple[str, str]]:
    """Every architecture with each of its heads; models that generate have the head ``generation``."""
    pairs = [(name, task) for name in (*ARCHITECTURES, *MORE) for task in heads(name)]
    return [*pairs, *((family, GENERATION) for family in FAMILIES)]


def describe_versions() -> str:
    """The versions that results hold for."""
    return ", ".join(f"{name} {version(name)}" for name in PACKAGES)


def measure(name: str, head: str, folder: Path) -> Cell:
    """Measure a cell, unless the folder has it for these versions; write it there."""
    path = folder / f"{name}.{head}.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if known.pop("versions", None) == describe_versions() and known["failed"] is None:
        return Cell(**known)
    cell = _measure(name, head)
    content = dataclasses.asdict(cell) | {"versions": describe_versions()}
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False), encoding="utf-8")
    print(f"{name}, {head}: {_describe(cell)}", file=sys.stderr, flush=True)
    return cell


def _measure(name: str, head: str) -> Cell:
    with tempfile.TemporaryDirectory() as folder:
        try:
            return _generation(name, Path(folder)) if head == GENERATION else _encoder(name, head, Path(folder))
        except ExportError as error:
            reason = str(error).partition(_EXACTLY)[2]
            return Cell(refused=reason) if reason else Cell(failed=_first_line(error))
        except Exception as error:  # noqa: BLE001 - what PyTorch, transformers and its configs raise is a line of the count
            return Cell(failed=_first_line(error))


def _encoder(name: str, task: str, folder: Path) -> Cell:
    model, tokenizer, bundle = export_tiny(name, task, folder)
    outcome = compare(model, tokenizer, bundle)
    calls = {"tensors": next(iter(outcome.failures), None)} | compare_calls(model, tokenizer, bundle, task)
    return Cell(outcome.largest, calls)


def _generation(family: str, folder: Path) -> Cell:
    model, tokenizer, bundle = export_generative(family, folder)
    largest = largest_difference(model, tokenizer, bundle)
    calls: dict[str, str | None] = {"tensors": None if largest < 1e-3 else f"scores differ by {largest:.2g}"}
    for search, options in (SEARCHES | OPTIONS).items():
        found = compare_tokens(model, tokenizer, bundle, searches={search: options})
        calls[search] = next(iter(found.failures), None)
    return Cell(largest, calls)


def _describe(cell: Cell) -> str:
    different = [f"{option}: {found}" for option, found in cell.calls.items() if found is not None]
    return cell.refused or cell.failed or "; ".join(different) or f"{len(cell.calls)} equal"


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
