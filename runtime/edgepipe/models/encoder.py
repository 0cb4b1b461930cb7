"""A graph of a bundle: named token arrays in, named tensors out."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgepipe.arguments import is_whole
from edgepipe.backend.bucketed_runs import BucketedRuns
from edgepipe.backend.engines import device_profile
from edgepipe.backend.session import Provider, SessionConfig
from edgepipe.backend.shape_buckets import Shape, check_buckets
from edgepipe.bundle.directory import Bundle
from edgepipe.errors import BundleError, InputError
from edgepipe.models.loaded_variant import LoadedVariant
from edgepipe.models.variants import load_graph, open_bundle


class Model(LoadedVariant):
    """An encoder graph, loaded: token arrays in, tensors out.

    ::

        model = Model.from_pretrained("path/to/bundle")
        model(**tokenizer(texts, padding=True, return_tensors="np"))  # {"logits": float32[batch, labels]}

    Attributes:
        directory: The bundle's directory.
        config: The checkpoint's ``config.json``.
        dtype: The variant that was loaded.
        max_length: Longest input in tokens that the graph accepts; None where it has no limit.
        session: The graph's session.
    """

    def __init__(self, bundle: Bundle, dtype: str | None = None, session: SessionConfig | None = None) -> None:
        super().__init__(bundle, dtype, session, bundle.max_length)
        config = session or SessionConfig()
        buckets = _buckets(config, self.max_length)
        self.session = load_graph(bundle, self.dtype, config, capture=bool(buckets))
        if config.buckets is None and not self.session.captures:
            buckets = ()  # nothing is won by padding where nothing can be recorded
        fill = {"input_ids": _pad_token_id(self.config)}
        self._bucketed = BucketedRuns(self.session, buckets, fill=fill, tolerance=self._tolerance) if buckets else None

    @classmethod
    def from_pretrained(
        cls,
        path: str | os.PathLike[str],
        dtype: str | None = None,
        *,
        device: str | int | None = None,
        num_threads: int | None = None,
        low_memory: bool = False,
        providers: Sequence[Provider] | None = None,
        session_options: Any = None,
        buckets: Sequence[Shape] | None = None,
        revision: str | None = None,
        local_files_only: bool = False,
    ) -> Model:
        """Load a variant of a bundle.

        Args:
            path: Directory or Hub id of the bundle.
            dtype: The variant; by default the manifest's, on CUDA fp16 or else fp32.
            device: See :class:`~edgepipe.backend.session.SessionConfig`, as for the five arguments that follow.
            num_threads: Threads inside one operator.
            low_memory: Keep the weights mapped.
            providers: onnxruntime's own list, in place of `device`.
            session_options: An ``onnxruntime.SessionOptions`` to start from.
            buckets: Shapes (batch, length) that inputs are padded to; None: some on a GPU, none elsewhere.
            revision: Branch, tag or commit, for a Hub id.
            local_files_only: Do not use the network.

        Raises:
            BundleError: the bundle is damaged or has no such variant.
            DeviceError: the device or a provider cannot be used here.
        """
        config = SessionConfig(device, num_threads, low_memory, providers, session_options, buckets)
        bundle = open_bundle(path, dtype, config, revision=revision, local_files_only=local_files_only)
        return bundle.read(lambda opened: cls(opened, dtype, config))

    @property
    def input_names(self) -> tuple[str, ...]:
        """The graph's declared inputs."""
        return tuple(self.session.inputs)

    @property
    def output_names(self) -> tuple[str, ...]:
        """The graph's outputs."""
        return self.session.outputs

    def __call__(self, **encoding: ArrayLike) -> dict[str, NDArray[np.float32]]:
        """Run the graph.

        Args:
            **encoding: What a tokenizer returns, as arrays or lists of [batch, length] integers. Names that the graph
                does not declare are left out; a missing ``attention_mask`` is all ones and missing
                ``token_type_ids`` are zeros, as in PyTorch.

        Returns:
            The outputs by name, e.g. ``{"logits": float32[batch, labels]}``.

        Raises:
            InputError: an input is missing, has the wrong shape or is longer than `max_length`.
            BundleError: the graph failed.
            ClosedError: the model was closed.
        """
        feeds = self._feeds(encoding)
        return self.session.run(feeds) if self._bucketed is None else self._bucketed(feeds)

    def close(self) -> None:
        """Release the graph and its memory. Closing twice does nothing; using it afterwards is a `ClosedError`."""
        self._bucketed = None  # its tensors stay bound to the graph
        super().close()

    def _feeds(self, encoding: Mapping[str, ArrayLike]) -> dict[str, NDArray[Any]]:
        ids = _token_array("input_ids", encoding.get("input_ids"), "int64")
        batch, length = ids.shape
        if batch == 0 or length == 0:
            raise InputError(f"input_ids is empty, {ids.shape}: the graph needs at least one token")
        if self.max_length is not None and length > self.max_length:
            raise InputError(
                f"{length} tokens are more than the {self.max_length} that the model takes; pass truncation=True and "
                f"max_length={self.max_length} to the tokenizer"
            )
        feeds: dict[str, NDArray[Any]] = {}
        for name, dtype in self.session.inputs.items():
            if name in encoding:
                array = _token_array(name, encoding[name], dtype)
                if array.shape != ids.shape:
                    raise InputError(f"{name} has the shape {array.shape}, input_ids {ids.shape}: they must be alike")
            elif name == "attention_mask":
                array = np.ones(ids.shape, dtype)
            elif name == "token_type_ids":
                array = np.zeros(ids.shape, dtype)
            else:
                raise BundleError(
                    f"the graph declares the input {name!r}, which a tokenizer does not make; it declares "
                    f"{', '.join(self.session.inputs)}"
                )
            feeds[name] = array
        return feeds

    @property
    def buckets(self) -> tuple[Shape, ...]:
        """The shapes (batch, length) that inputs are padded to, the smallest first."""
        return () if self._bucketed is None else self._bucketed.buckets

    def warm_up(self) -> None:
        """Prepare what the first calls would have to wait for.

        That is a run of one token, and of every bucket its memory, its recording on a GPU, and the proof that padding
        changes nothing.
        """
        self.session.run(self._example_feeds(1, 1))
        if self._bucketed is not None:
            self._bucketed.warm_up(self._example_feeds)

    def _example_feeds(self, rows: int, tokens: int) -> dict[str, NDArray[Any]]:
        """Inputs of so many rows and tokens, none of them padding."""
        size = self.config.get("vocab_size")
        ids = np.arange(rows * tokens) % (size if is_whole(size, 2) else 2)
        padding = _pad_token_id(self.config)
        ids[ids == padding] = 0 if padding else 1
        return self._feeds({"input_ids": ids.reshape(rows, tokens)})

    @property
    def _tolerance(self) -> float:
        """How far outputs for a padded batch may be from those for the batch itself, as a share of the largest."""
        if "16" in self.dtype:
            return 2e-2
        # Matrix products of other shapes add up in another order; a GPU's may round their factors too (TF32).
        return 1e-4 if self.session.device.is_host else 1e-3


def _buckets(config: SessionConfig, max_length: int | None) -> tuple[Shape, ...]:
    """The shapes that fit the model, the smallest first."""
    buckets = check_buckets(device_profile(config).buckets if config.buckets is None else config.buckets)
    return tuple(bucket for bucket in buckets if max_length is None or bucket[1] <= max_length)


def _pad_token_id(config: Mapping[str, Any]) -> int:
    found = config.get("pad_token_id")
    return found if is_whole(found) else 0


def _token_array(name: str, value: ArrayLike | None, dtype: str) -> NDArray[Any]:
    if value is None:
        raise InputError(f"{name} is missing: call the model as model(**tokenizer(texts, return_tensors='np'))")
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise InputError(f"{name} is ragged: pad the batch (padding=True) before it goes to the model") from error
    if array.ndim != 2 or not (np.issubdtype(array.dtype, np.integer) or array.size == 0):
        raise InputError(f"{name} must be integers of shape [batch, length], got {array.dtype} of shape {array.shape}")
    return array.astype(dtype, copy=False)
