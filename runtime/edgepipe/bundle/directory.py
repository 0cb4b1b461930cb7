"""The deployable directory: its manifest, its variants, and where each file lies."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from edgepipe.arguments import is_whole
from edgepipe.bundle.containment import require_contained
from edgepipe.bundle.folder_state import FolderState, read_unchanged
from edgepipe.bundle.integrity import (
    EXPORT_AGAIN,
    check_sha256,
    check_size,
    file_exists,
    find_obstacle,
    read_json,
    read_text,
    unreadable_error,
)
from edgepipe.bundle.layout import (
    GRAPH_FOLDERS,
    GRAPH_NAMES,
    MANIFEST_NAME,
    MODEL,
    STORED_AS,
    SUFFIXES,
    first_of,
    graph_file,
)
from edgepipe.bundle.manifest import FileEntry, Manifest, digest_record
from edgepipe.bundle.model_config import ModelConfig
from edgepipe.bundle.tasks import task_for_architecture
from edgepipe.bundle.third_party import is_sentence_encoder, max_positions
from edgepipe.errors import BundleError, InputError, VariantError

Result = TypeVar("Result")

# What transformers writes the weights of a checkpoint into.
_CHECKPOINTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)


def _read_config(path: Path) -> ModelConfig:
    config = ModelConfig(read_json(path))
    if not isinstance(config.get("model_type", ""), (str, type(None))):
        raise BundleError(f"{path} has the model_type {config['model_type']!r:.80}, expected a text; {EXPORT_AGAIN}")
    return config


@dataclass(frozen=True)
class Bundle:
    """A directory of graphs with tokenizer and config.

    Attributes:
        path: The directory.
        manifest: What the exporter recorded; None for a directory that another tool made.
        config: ``config.json``.
    """

    path: Path
    manifest: Manifest | None
    config: ModelConfig
    _state: FolderState = field(default=(), compare=False)

    @classmethod
    def load(
        cls,
        path_or_repo_id: str | os.PathLike[str],
        *,
        dtype: str | None = None,
        preferred: Sequence[str] = (),
        choose: Callable[[Manifest], str] | None = None,
        revision: str | None = None,
        local_files_only: bool = False,
        token: str | bool | None = None,
    ) -> Bundle:
        """Open a bundle and check the sizes of its files.

        A variant of which no file is there (a partial download, or deleted to save space) is left out of
        :attr:`dtypes`.

        Args:
            path_or_repo_id: A directory, or the Hub id of a bundle, of which only the files of one variant are
                downloaded.
            dtype: That variant; by default the manifest's.
            preferred: Variants to take before that one where `dtype` names none, the first most.
            choose: Gives the variant to take by default in place of the manifest's.
            revision: Branch, tag or commit, for a Hub id.
            local_files_only: Do not use the network: the Hub's cache must have the files.
            token: For a private repository; True and None for the one that is saved, False for none.

        Raises:
            BundleError: no bundle is there, or files are missing or have another size than recorded.
            DependencyError: it is no directory, and the Hub's client is missing.
            DownloadError: the Hub id could not be downloaded.
            InputError: neither a path nor a Hub id.
        """
        if not isinstance(path_or_repo_id, (str, os.PathLike)):
            raise InputError(f"a bundle is named by its directory or Hub id, got {type(path_or_repo_id).__name__}")
        path = Path(path_or_repo_id)
        try:
            is_here = path.exists()
        except OSError as error:
            raise unreadable_error(path, error) from error
        if not is_here:
            from edgepipe.bundle.hub import fetch_bundle

            path = fetch_bundle(
                os.fspath(path_or_repo_id),
                dtype=dtype,
                preferred=preferred,
                choose=choose,
                revision=revision,
                local_files_only=local_files_only,
                token=token,
            )
        if not path.is_dir():
            raise BundleError(f"{path} is not a directory; a bundle is one, with config.json and graphs in onnx/")
        return read_unchanged(lambda state: cls._open(path, state), path)

    def read(self, reader: Callable[[Bundle], Result]) -> Result:
        """What a function reads of the bundle's files, all of them from one export.

        Where the folder changes meanwhile, the bundle is opened again and all is read anew.

        Raises:
            BundleError: the folder goes on changing, or what the function raises.
        """

        def read_again(state: FolderState) -> Result:
            return reader(self if state == self._state or not self._state else self._open(self.path, state))

        return read_unchanged(read_again, self.path)

    @classmethod
    def _open(cls, path: Path, state: FolderState) -> Bundle:
        try:
            return cls._read(path, state)
        except OSError as error:  # a folder that may not be entered
            raise unreadable_error(path, error) from error

    @classmethod
    def _read(cls, path: Path, state: FolderState) -> Bundle:
        manifest_path, config_path = path / MANIFEST_NAME, path / "config.json"
        if os.path.lexists(manifest_path) or os.path.lexists(config_path):  # what is no bundle may be large
            require_contained(path)
        manifest = None
        if file_exists(manifest_path):
            manifest = Manifest.from_json(read_text(manifest_path), str(manifest_path))
        if not file_exists(config_path):
            raise BundleError(
                f"{path} has no config.json: it is not a bundle; make one with: edgepipe export MODEL OUT"
            )
        bundle = cls(path, manifest, _read_config(config_path), state)
        if manifest is not None:
            for entry in bundle.recorded_files:
                check_size(path / entry.path, entry.bytes)
        if not bundle.dtypes:
            graphs = (file for folder in GRAPH_FOLDERS for file in (path / folder).glob("*.onnx"))
            raise BundleError(
                next(filter(None, map(find_obstacle, graphs)), None)
                or f"{path} has no graph: neither onnx/model*.onnx nor model*.onnx; "
                + (
                    f"it is a checkpoint: make a bundle of it with: edgepipe export {path} OUT"
                    if any((path / name).is_file() for name in _CHECKPOINTS)
                    else "was it exported whole?"
                )
            )
        return bundle

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r}, task={self.task!r}, dtypes={self.dtypes!r})"

    @cached_property
    def dtypes(self) -> tuple[str, ...]:
        """The variants that have files of their own, and whose files are there."""
        if self.manifest is not None:
            return tuple(self._present_variants())
        return tuple(dtype for dtype in SUFFIXES if self._find_graphs(dtype))

    @property
    def measured_dtypes(self) -> tuple[str, ...]:
        """Those, and the precisions of them that the exporter measured on an engine that has them."""
        recorded = () if self.manifest is None else self.manifest.variants
        return (*self.dtypes, *(name for name in recorded if STORED_AS.get(name) in self.dtypes))

    @property
    def digest(self) -> str:
        """Tell this bundle from others by the manifest's digest; without one, by config and graphs' sizes."""
        if self.manifest is not None:
            return self.manifest.digest
        graphs = [(file.name, file.stat().st_size) for dtype in self.dtypes for file in self.files(dtype)]
        return digest_record({"config": self.config, "graphs": graphs})

    @property
    def default_dtype(self) -> str:
        """The manifest's default variant, or that whose graph it is computed from, or the first that is there."""
        own = "" if self.manifest is None else self.manifest.default_dtype
        return first_of((own, STORED_AS.get(own, own)), self.dtypes) or self.dtypes[0]

    @property
    def task(self) -> str | None:
        """The task the bundle is for; None if neither manifest nor config say.

        Without a manifest it is what the checkpoint was made for; ``pipeline`` and ``edgepipe info`` look at the
        graph's outputs too.
        """
        if self.manifest is not None:
            return self.manifest.task
        if is_sentence_encoder(self.path):
            return "feature-extraction"
        return task_for_architecture(self.config.get("architectures"))

    @cached_property
    def generation_config(self) -> Mapping[str, Any]:
        """``generation_config.json``; empty where there is none."""
        path = self.path / "generation_config.json"
        return read_json(path) if file_exists(path) else {}

    def shares_cache(self, dtype: str) -> bool:
        """Whether a variant's decoder may write its cache into the buffer that it reads it from.

        Only the exporter knows; of what other tools made it is not assumed.
        """
        return self._recorded_cache(dtype) == "shared"

    def joins_rows(self, dtype: str) -> bool:
        """Whether what one row of a variant's decoder gives does not depend on columns that are masked for it.

        So it is where the exporter gave the decoder its cache. Others count the tokens of a row by its mask, and take
        padding on the right, or read a prompt in parts by a branch that is for one token.
        """
        return self._recorded_cache(dtype) in ("shared", "concatenated")

    def attention_window(self, dtype: str) -> int | None:
        """How many of the last tokens those layers of a variant's decoder see that do not see all; None without any.

        Only the exporter knows. Which layers these are is in the shapes of the graph's inputs.
        """
        found = None if self.manifest is None else self.manifest.variants[dtype].recipe.get("window")
        return found if is_whole(found, 1) else None

    def cache_dtype(self, dtype: str) -> str | None:
        """What a variant's decoder keeps keys and values in by its recipe, ``"int8"``; None where nothing is said."""
        found = None if self.manifest is None else self.manifest.variants[dtype].recipe.get("kv_cache")
        return found.get("dtype") if isinstance(found, Mapping) else None

    def _recorded_cache(self, dtype: str) -> str | None:
        """The kind of cache that the exporter gave a variant's decoder; None where it is another tool's."""
        return None if self.manifest is None else self.manifest.variants[dtype].recipe.get("cache")

    @property
    def max_length(self) -> int | None:
        """Longest input in tokens that the graph accepts; None where it has no limit.

        Without a manifest it is the smaller of the positions that `config.json` gives and the tokenizer's
        ``model_max_length``.
        """
        if self.manifest is not None:
            return self.manifest.max_length
        tokenizer = self.path / "tokenizer_config.json"
        tokens = read_json(tokenizer).get("model_max_length") if file_exists(tokenizer) else None
        limits = [max_positions(self.config), tokens]
        return min((limit for limit in limits if isinstance(limit, int) and limit > 0), default=None)

    @property
    def max_target_length(self) -> int | None:
        """Longest sequence in tokens that an encoder-decoder's decoder takes; None where it has no limit."""
        if self.manifest is not None:
            return self.manifest.max_target_length
        names = ("max_decoder_position_embeddings", "max_position_embeddings")
        limits = (self.config.get(name) for name in names)
        return next((limit for limit in limits if isinstance(limit, int) and limit > 0), None)

    def files(self, dtype: str) -> tuple[Path, ...]:
        """The files of a variant, graphs and weights.

        Raises:
            VariantError: the bundle has no such variant; the message names those it has.
        """
        self._check_variant(dtype)
        if self.manifest is not None:
            return tuple(self.path / entry.path for entry in self.manifest.variants[dtype].files)
        return tuple(sorted(file for graph in self._find_graphs(dtype) for file in graph.parent.glob(f"{graph.name}*")))

    def count_bytes(self, dtype: str) -> int:
        """How many bytes the files of a variant have.

        Raises:
            VariantError: the bundle has no such variant.
        """
        return sum(file.stat().st_size for file in self.files(dtype))

    def has_graph(self, dtype: str, name: str) -> bool:
        """Whether a variant has a graph of this name."""
        return any(file.name == graph_file(dtype, name) for file in self.files(dtype))

    def graph(self, dtype: str, name: str = MODEL) -> Path:
        """The path of a variant's graph, its content checked against the manifest's hash.

        Args:
            dtype: The variant.
            name: Which graph of it.

        Raises:
            VariantError: the bundle has no such variant.
            BundleError: the graph was altered.
        """
        self._check_variant(dtype)
        if self.manifest is None:
            found = self._find_graph(dtype, name)
            if found is None:
                raise self._missing_graph(dtype, name)
            return found
        file_name = graph_file(dtype, name)
        for entry in self.manifest.variants[dtype].files:
            if entry.path.rsplit("/", 1)[-1] == file_name:
                check_sha256(self.path / entry.path, entry.sha256)
                return self.path / entry.path
        raise self._missing_graph(dtype, name)

    def check(self) -> tuple[FileEntry, ...]:
        """Check the sha256 of every file that is there; returns the files checked.

        Raises:
            BundleError: a file was altered, or there is no manifest to check against.
        """
        if self.manifest is None:
            raise BundleError(f"{self.path} has no {MANIFEST_NAME}: there is nothing to check its files against")
        entries = self.recorded_files
        for entry in entries:
            check_sha256(self.path / entry.path, entry.sha256)
        return entries

    def _missing_graph(self, dtype: str, name: str) -> BundleError:
        there = [file.name for file in self.files(dtype) if file.suffix == ".onnx"]
        advice = "; a model of several graphs is loaded with pipeline()" if name == MODEL else ""
        return BundleError(f"{self.path} has no {graph_file(dtype, name)} for {dtype}, only {', '.join(there)}{advice}")

    def _check_variant(self, dtype: str) -> None:
        if dtype in self.dtypes:
            return
        listed = self.manifest is not None and dtype in tuple(self.manifest.variants)
        why = "its files are not there" if listed else "it has no such variant"
        if dtype in STORED_AS:
            why = f"only OpenVINO computes the graph of {STORED_AS[dtype]} in it (device='openvino')"
        raise VariantError(f"{self.path} cannot give dtype {dtype!r}: {why}; there is {', '.join(self.dtypes)}")

    @property
    def recorded_files(self) -> tuple[FileEntry, ...]:
        """The manifest's entries of the files that are there or should be; none without a manifest."""
        if self.manifest is None:
            return ()
        return (*self.manifest.files, *chain(*self._present_variants().values()))

    def _present_variants(self) -> dict[str, tuple[FileEntry, ...]]:
        assert self.manifest is not None
        return {
            dtype: variant.files
            for dtype, variant in self.manifest.variants.items()
            if dtype not in STORED_AS and any((self.path / entry.path).exists() for entry in variant.files)
        }

    def _find_graphs(self, dtype: str) -> list[Path]:
        found = (self._find_graph(dtype, name) for name in GRAPH_NAMES)
        return [path for path in found if path is not None]

    def _find_graph(self, dtype: str, name: str) -> Path | None:
        for folder in GRAPH_FOLDERS:
            candidate = self.path / folder / graph_file(dtype, name) if dtype in SUFFIXES else None
            if candidate is not None and candidate.is_file():
                return candidate
        return None
