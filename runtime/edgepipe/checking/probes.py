"""The probes of a bundle, ``edgepipe_probes.json``: inputs, and what each variant gave for them where it was made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgepipe.arguments import is_number, is_whole
from edgepipe.bundle.directory import Bundle
from edgepipe.bundle.integrity import EXPORT_AGAIN, read_json
from edgepipe.bundle.layout import PROBES_NAME
from edgepipe.bundle.manifest import FileEntry
from edgepipe.checking.sketch import Sketch
from edgepipe.errors import BundleError

SCHEMA_VERSION = 1

# The most bytes that such a file has, and that are read of one.
MOST_BYTES = 200_000

# How many of the first probes are enough for a variant that is loaded for the first time.
HANDFUL = 4

# The rows that the model computes at once for a probe, an output's sketch by its name each.
Rows = tuple[Mapping[str, Sketch], ...]


def find_probes(bundle: Bundle) -> FileEntry | None:
    """What the manifest says of the file of probes; None where the bundle was made without."""
    files = () if bundle.manifest is None else bundle.manifest.files
    return next((entry for entry in files if entry.path == PROBES_NAME), None)


@dataclass(frozen=True, slots=True)
class Probe:
    """Inputs that go through the model at once.

    Attributes:
        kind: Why it was chosen, e.g. ``"border"``.
        inputs: The pipeline's inputs; of a task that writes text one prompt.
        pieces: Token ids and masks of all pieces of the inputs, in order.
        following: What a task that writes text is made to write, token by token; that of an encoder-decoder
            begins with what its decoder starts with.
        results: What the task makes of made-up outputs for each input, or of those tokens; None where that is long.
    """

    kind: str
    inputs: tuple[Any, ...]
    pieces: tuple[Mapping[str, list[int]], ...]
    following: tuple[int, ...] = ()
    results: Any = None

    def to_record(self) -> dict[str, Any]:
        """As JSON can hold it."""
        record = {
            "kind": self.kind,
            "inputs": list(self.inputs),
            "pieces": [dict(piece) for piece in self.pieces],
            "following": list(self.following),
            "results": self.results,
        }
        return {name: value for name, value in record.items() if value not in (None, [])}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Probe:
        """Read it.

        Raises:
            KeyError, TypeError, ValueError: it is none.
        """
        pieces = tuple({str(name): list(ids) for name, ids in piece.items()} for piece in record["pieces"])
        following = tuple(record.get("following", ()))
        if not all(map(is_whole, following)) or not all(
            map(is_whole, (i for p in pieces for v in p.values() for i in v))
        ):
            raise ValueError("it has token ids that are no whole numbers")
        if not pieces or not all("input_ids" in piece for piece in pieces):
            raise ValueError("it has a probe without input_ids")
        return cls(str(record["kind"]), tuple(record["inputs"]), pieces, following, record.get("results"))


@dataclass(frozen=True, slots=True)
class Probes:
    """The content of the file.

    Attributes:
        task: The task whose pipeline encodes the inputs.
        options: Its options.
        texts: Where the texts come from: ``"built-in"``, or the data of the export.
        probes: The probes, the most telling first.
        outputs: What each variant gave for each probe. That of fp32 is there, whether the bundle has fp32 or not.
        machines: What each variant of the bundle ran on then; see
            :func:`~edgepipe.checking.probe_runs.describe_machine`.
        tolerances: How far each variant of the bundle may be from its outputs by rounding alone, as a share of the
            size of fp32's.
    """

    task: str
    options: Mapping[str, Any]
    texts: str
    probes: tuple[Probe, ...]
    outputs: Mapping[str, tuple[Rows, ...]]
    machines: Mapping[str, Mapping[str, Any]]
    tolerances: Mapping[str, float]

    def to_json(self) -> str:
        """The file's text."""
        record = {
            "schema_version": SCHEMA_VERSION,
            "task": self.task,
            "options": dict(self.options),
            "texts": self.texts,
            "probes": [probe.to_record() for probe in self.probes],
            "outputs": {
                dtype: [[{name: each.to_record() for name, each in row.items()} for row in rows] for rows in found]
                for dtype, found in self.outputs.items()
            },
            "machines": {dtype: dict(machine) for dtype, machine in self.machines.items()},
            "tolerances": dict(self.tolerances),
        }
        return json.dumps(record, ensure_ascii=True, allow_nan=False, separators=(",", ":")) + "\n"

    @classmethod
    def load(cls, folder: Path) -> Probes:
        """Read a bundle's probes.

        Raises:
            BundleError: they are not there, too many, or none.
        """
        path = folder / PROBES_NAME
        record = read_json(path, limit=MOST_BYTES)
        if is_whole(record.get("schema_version"), SCHEMA_VERSION + 1):
            raise BundleError(
                f"{path} has schema version {record['schema_version']}, this edgepipe reads up to {SCHEMA_VERSION}; "
                "upgrade edgepipe"
            )
        try:
            return cls._from_record(record)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise BundleError(f"{path} is damaged: {error}; {EXPORT_AGAIN}") from error

    @classmethod
    def _from_record(cls, record: Mapping[str, Any]) -> Probes:
        probes = tuple(map(Probe.from_record, record["probes"]))
        outputs = {
            dtype: tuple(
                tuple({name: Sketch.from_record(each) for name, each in row.items()} for row in rows) for rows in found
            )
            for dtype, found in record["outputs"].items()
        }
        tolerances = dict(record["tolerances"])
        if not all(map(is_number, tolerances.values())):
            raise ValueError("it has tolerances that are no numbers")
        machines = {dtype: dict(machine) for dtype, machine in record["machines"].items()}
        if "fp32" not in outputs or {len(found) for found in outputs.values()} != {len(probes)}:
            raise ValueError("it has not the outputs of each probe")
        if not tolerances.keys() == machines.keys() <= outputs.keys() or not isinstance(record["task"], str):
            raise ValueError("it has a variant without outputs, or no task")
        return cls(record["task"], dict(record["options"]), str(record["texts"]), probes, outputs, machines, tolerances)
