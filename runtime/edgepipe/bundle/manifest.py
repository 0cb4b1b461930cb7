"""The bundle's own record, ``edgepipe.json``, as frozen dataclasses.

The exporter writes it and the runtime reads it. A field that is not known to this version is an error only when the
schema version is newer than ours: an old runtime must not misread a new bundle.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from edgepipe.bundle import strict_json
from edgepipe.bundle.integrity import EXPORT_AGAIN, parse_json, sha256_of_bytes
from edgepipe.bundle.layout import MANIFEST_NAME
from edgepipe.errors import BundleError

SCHEMA_VERSION = 1

# What a path may have: no control characters, no half of a surrogate pair.
_IN_A_PATH = re.compile("[^\x00-\x1f\x7f\ud800-\udfff]+")

# The field with the digest of all others.
_DIGEST = "manifest_sha256"


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A file of the bundle.

    Attributes:
        path: Relative to the bundle's directory, with forward slashes.
        bytes: Its size.
        sha256: Hexadecimal digest of its content.
    """

    path: str
    bytes: int
    sha256: str

    def __post_init__(self) -> None:
        # A manifest comes from whoever made the bundle: what it lists is read, and removed where it arrived altered.
        parts = self.path.split("/")
        if {"", ".", ".."} & set(parts) or "\\" in self.path or ":" in parts[0] or not _IN_A_PATH.fullmatch(self.path):
            raise ValueError(f"{self.path!r} is not a path within the bundle")
        if not isinstance(self.bytes, int) or self.bytes < 0 or not isinstance(self.sha256, str):
            raise ValueError(f"{self.path} has bytes {self.bytes!r}, sha256 {self.sha256!r}")


@dataclass(frozen=True, slots=True)
class Source:
    """Where the weights came from.

    Attributes:
        model: Hub id, or the last part of the local directory's name.
        revision: Commit of the Hub repository; None for a local directory or a model object.
        architecture: The transformers class that was traced, e.g. ``BertForSequenceClassification``.
        base: Likewise what the checkpoint, an adapter, was merged into; None for what is no adapter.
        base_revision: Commit of the base's Hub repository.
    """

    model: str
    revision: str | None
    architecture: str
    base: str | None = None
    base_revision: str | None = None


@dataclass(frozen=True, slots=True)
class Parity:
    """How far a variant is from its reference, measured at export.

    Attributes:
        reference: What it was compared with: ``"pytorch-fp32"`` for the fp32 graph, ``"fp32"`` for the others.
        texts: How many texts were compared.
        max_abs_diff: Largest absolute difference of each output tensor, by name; infinite where a tensor holds
            something else than numbers, or is missing (null in the file).
        max_score_diff: Largest difference of a pipeline score; None where the task has none.
        label_agreement: Share of decisions, 0 to 1, that are the reference's: a text's label, a mask's token, an
            answer, the label of a token that either side gives one. None where there are none.
        bound: The bound that decided, in words.
        passed: Whether the bound held. False only in a bundle that was written by force.
        figures: What else was measured, by name, e.g. ``perplexity``.
        seen: On how many of the texts the variant was calibrated too, which flatters it; None where that was not
            recorded.
        device: The device whose results were measured, e.g. ``"openvino"``; None for onnxruntime on a processor.
        data_sha256: A digest of the data that the texts are from; None where it was not recorded, and for fp32, which
            is compared on built-in ones.
    """

    reference: str
    texts: int
    max_abs_diff: Mapping[str, float]
    max_score_diff: float | None
    label_agreement: float | None
    bound: str
    passed: bool
    figures: Mapping[str, float] = field(default_factory=dict)
    seen: int | None = None
    device: str | None = None
    data_sha256: str | None = None

    @property
    def measured_on(self) -> str:
        """On how many texts it was measured, in words."""
        return f"{self.texts} texts" + (f", {self.seen} of them calibrated with" if self.seen else "")

    def list_figures(self) -> dict[str, float]:
        """All figures that are there, by their names in the file, e.g. ``"max_abs_diff.logits"``."""
        tensors = {f"max_abs_diff.{name}": value for name, value in self.max_abs_diff.items()}
        own = {"max_score_diff": self.max_score_diff, "label_agreement": self.label_agreement}
        others = {f"figures.{name}": value for name, value in self.figures.items()}
        return {name: value for name, value in (tensors | own | others).items() if value is not None}


@dataclass(frozen=True, slots=True)
class Variant:
    """One dtype of the bundle.

    Attributes:
        files: The graphs and their external weights.
        recipe: Name and options of what made it, e.g. ``{"name": "int8", "per_channel": True}``.
        parity: None where nothing was measured (``verify=False``).
        proved_on: Other machines on which it passed its probes before it was written, e.g. emulated ones.
    """

    files: tuple[FileEntry, ...]
    recipe: Mapping[str, Any]
    parity: Parity | None = None
    proved_on: tuple[str, ...] = ()

    @property
    def bytes(self) -> int:
        """Size on disk of the variant's files."""
        return sum(file.bytes for file in self.files)


@dataclass(frozen=True, slots=True)
class Manifest:
    """The content of ``edgepipe.json``.

    Attributes:
        task: The pipeline task the bundle is for.
        source: The checkpoint it was made from.
        versions: Versions of the packages that made it.
        machine: The machine that parity was measured on, in words.
        max_length: Longest input, in tokens, that the graph accepts; None where it has no limit.
        max_length_source: How the limit was found.
        labels: The labels in the order of the logits; empty where the task has none.
        default_dtype: The variant that is loaded when none is asked for.
        variants: The variants by dtype.
        files: Files all variants share (config, tokenizer).
        max_target_length: Longest sequence, in tokens, that the decoder of an encoder-decoder accepts; None where it
            has no limit, and for other models.
        candidates: Where the exporter chose the dtype, a row for each that it measured: its size, latency, quality, and
            whether it passed; empty otherwise.
        target: What the variants are for, as ``--target`` names it, e.g. ``"avx2"``; None in older bundles.
    """

    task: str
    source: Source
    versions: Mapping[str, str]
    machine: str
    max_length: int | None
    max_length_source: str
    labels: tuple[str, ...]
    default_dtype: str
    variants: Mapping[str, Variant]
    files: tuple[FileEntry, ...] = field(default=())
    max_target_length: int | None = None
    candidates: tuple[Mapping[str, Any], ...] = ()
    target: str | None = None
    schema_version: int = SCHEMA_VERSION

    def to_json(self) -> str:
        """The manifest as JSON text, keys in the order of the fields, its digest last."""
        record = self._record()
        return strict_json.dumps(record | {_DIGEST: digest_record(record)}) + "\n"

    @property
    def digest(self) -> str:
        """Hexadecimal sha256 of what it says."""
        return digest_record(self._record())

    def _record(self) -> dict[str, Any]:
        record: dict[str, Any] = json.loads(strict_json.dumps({"schema_version": self.schema_version} | asdict(self)))
        if self.target is None:  # an older bundle keeps the digest that it was published with
            del record["target"]
        return record

    @classmethod
    def from_json(cls, text: str, origin: str = MANIFEST_NAME) -> Manifest:
        """Read a manifest.

        Args:
            text: JSON text.
            origin: What error messages call it, usually the path.

        Raises:
            BundleError: not JSON, written by a newer schema, or fields missing or of a wrong type.
        """
        try:
            record = parse_json(text)
        except ValueError as error:
            raise BundleError(f"{origin} is not valid JSON ({error}); {EXPORT_AGAIN}") from error
        if not isinstance(record, dict) or not isinstance(record.get("schema_version"), int):
            raise BundleError(f"{origin} has no schema_version: it is not an edgepipe manifest")
        if record["schema_version"] > SCHEMA_VERSION:
            raise BundleError(
                f"{origin} has schema version {record['schema_version']}, this edgepipe reads up to "
                f"{SCHEMA_VERSION}; upgrade edgepipe"
            )
        digest = record.pop(_DIGEST, None)  # older bundles lack it
        if digest is not None and digest != digest_record(record):
            raise BundleError(
                f"{origin} was altered: it does not have the digest that it was written with; {EXPORT_AGAIN}"
            )
        try:
            for name, kind in _JSON_TYPES.items():
                if not isinstance(record[name], kind) or isinstance(record[name], bool):
                    raise TypeError(f"{name} is {record[name]!r}")
            for name, kind in _OPTIONAL_TYPES.items():
                if not isinstance(record.get(name), (kind, type(None))):
                    raise TypeError(f"{name} is {record[name]!r}")
            if not all(isinstance(label, str) for label in record["labels"]):
                raise TypeError(f"labels is {record['labels']!r}")
            manifest = cls(
                **_known(cls, record)
                | {
                    "source": Source(**_known(Source, record["source"])),
                    "labels": tuple(record["labels"]),
                    "variants": {dtype: _variant(entry) for dtype, entry in record["variants"].items()},
                    "files": _files(record["files"]),
                    "candidates": tuple(record.get("candidates", ())),  # older bundles lack it
                }
            )
            if manifest.default_dtype not in manifest.variants:
                raise ValueError(f"default_dtype {manifest.default_dtype!r} is none of its variants")
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise BundleError(f"{origin} is damaged: {error}; {EXPORT_AGAIN}") from error
        return manifest


def digest_record(record: Mapping[str, Any]) -> str:
    """Hexadecimal sha256 of a manifest's record without its digest, however its JSON is laid out."""
    return sha256_of_bytes(json.dumps(record, sort_keys=True, separators=(",", ":")).encode())


# A field that the reader takes as it is must have the JSON type it was written with.
_JSON_TYPES: dict[str, type | tuple[type, ...]] = {
    "task": str,
    "versions": dict,
    "machine": str,
    "max_length": (int, type(None)),
    "max_length_source": str,
    "labels": list,
    "default_dtype": str,
}
# Older bundles lack them.
_OPTIONAL_TYPES: dict[str, type] = {"max_target_length": int, "target": str}


def _known(kind: type[Any], record: dict[str, Any]) -> dict[str, Any]:
    """The fields of a record that this version knows: a later one may add some that do not change the others."""
    return {each.name: record[each.name] for each in fields(kind) if each.name in record}


def _files(entries: list[dict[str, Any]]) -> tuple[FileEntry, ...]:
    return tuple(FileEntry(**_known(FileEntry, entry)) for entry in entries)


def _variant(entry: dict[str, Any]) -> Variant:
    parity = entry["parity"]
    if not isinstance(entry["recipe"], dict):
        raise TypeError(f"recipe is {entry['recipe']!r:.80}")
    proved_on = tuple(map(str, entry.get("proved_on", ())))
    return Variant(_files(entry["files"]), entry["recipe"], None if parity is None else _parity(parity), proved_on)


def _parity(entry: dict[str, Any]) -> Parity:
    differences = {name: math.inf if value is None else value for name, value in entry["max_abs_diff"].items()}
    return Parity(**_known(Parity, entry) | {"max_abs_diff": differences})
