"""The layers that follow a transformer in a sentence-transformers model, on numpy.

To add one: a class that takes and returns features, a function that reads it from its directory, and a line in
``_READERS``. Reference: sentence-transformers 6.2, the modules of the same names.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgepipe.bundle.integrity import read_json
from edgepipe.bundle.third_party import read_module_entries
from edgepipe.embeddings.pooling import check_modes, normalize, pool
from edgepipe.embeddings.safetensors import read_safetensors
from edgepipe.errors import BundleError, InputError
from edgepipe.numerics import sigmoid

Vectors = NDArray[np.float32]


TOKEN_EMBEDDINGS = "token_embeddings"
SENTENCE_EMBEDDING = "sentence_embedding"

_erf = np.frompyfunc(math.erf, 1, 1)


def _gelu(x: Vectors) -> Vectors:
    value: Vectors = (x * 0.5 * (1 + _erf(x / math.sqrt(2)).astype(np.float64))).astype(np.float32)
    return value


# The torch.nn class of an activation: its function, as the class computes it when made without arguments.
ACTIVATIONS: dict[str, Callable[[Vectors], Vectors]] = {
    "Identity": lambda x: x,
    "Tanh": lambda x: np.tanh(x),
    "ReLU": lambda x: np.maximum(x, np.float32(0)),
    "GELU": _gelu,
    "SiLU": lambda x: x * sigmoid(x),
    "Sigmoid": sigmoid,
}

# The flags of older pooling configs, in the order in which the results stand side by side.
_POOLING_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}


@dataclass(frozen=True, slots=True)
class Features:
    """A batch on its way through the modules.

    Attributes:
        vectors: float32 arrays by name: ``token_embeddings`` [batch, tokens, hidden], and from the pooling on
            ``sentence_embedding`` [batch, dimension].
        attention_mask: int64[batch, tokens].
        prompt_length: How many tokens of each text are the prompt.
    """

    vectors: Mapping[str, Vectors]
    attention_mask: NDArray[np.int64]
    prompt_length: int = 0

    def __getitem__(self, name: str) -> Vectors:
        if name not in self.vectors:
            raise BundleError(f"modules.json: a module reads {name!r}, and none before it makes that")
        return self.vectors[name]

    def with_vectors(self, name: str, vectors: Vectors) -> Features:
        """The same with one array added or replaced."""
        return Features({**self.vectors, name: vectors}, self.attention_mask, self.prompt_length)


class Module(Protocol):
    """One layer."""

    def __call__(self, features: Features) -> Features:
        """The features with what the layer makes of them."""


@dataclass(frozen=True, slots=True)
class Pooling:
    """Token vectors to one vector a text.

    Attributes:
        modes: Names in :data:`edgepipe.embeddings.pooling.MODES`.
        include_prompt: Whether the prompt's tokens count.
    """

    modes: tuple[str, ...]
    include_prompt: bool = True

    def __call__(self, features: Features) -> Features:
        """Pool the token vectors."""
        prompt_length = 0 if self.include_prompt else features.prompt_length
        pooled = pool(features[TOKEN_EMBEDDINGS], features.attention_mask, self.modes, prompt_length)
        return features.with_vectors(SENTENCE_EMBEDDING, pooled)


@dataclass(frozen=True, slots=True)
class Dense:
    """A linear layer and an activation, with the input added to the result if it is residual.

    Attributes:
        weight: float32[out, in].
        bias: float32[out], or None.
        activation: The activation's function.
        shortcut: float32[out, in] for the input on its way around the layer; None for the input as it is.
        residual: Whether there is such a way.
        source: Name of the array to read.
        target: Name of the array to make.
    """

    weight: Vectors
    bias: Vectors | None
    activation: Callable[[Vectors], Vectors]
    shortcut: Vectors | None
    residual: bool
    source: str
    target: str

    def __call__(self, features: Features) -> Features:
        """Apply the layer to the last axis."""
        x = features[self.source]
        if x.shape[-1] != self.weight.shape[1]:
            raise BundleError(f"a Dense module takes {self.weight.shape[1]} values, it was given {x.shape[-1]}")
        linear = x @ self.weight.T if self.bias is None else x @ self.weight.T + self.bias
        result = self.activation(linear)
        if self.residual:
            result = result + (x if self.shortcut is None else x @ self.shortcut.T)
        return features.with_vectors(self.target, result)


@dataclass(frozen=True, slots=True)
class LayerNorm:
    """torch.nn.LayerNorm over the last axis of the sentence vector, weight and bias float32[dimension]."""

    weight: Vectors
    bias: Vectors

    def __call__(self, features: Features) -> Features:
        """Normalize mean and variance."""
        x = features[SENTENCE_EMBEDDING]
        if x.shape[-1] != self.weight.shape[0]:
            raise BundleError(f"a LayerNorm module takes {self.weight.shape[0]} values, it was given {x.shape[-1]}")
        deviation = x - x.mean(axis=-1, keepdims=True)
        variance = np.square(deviation).mean(axis=-1, keepdims=True)
        result = deviation / np.sqrt(variance + np.float32(1e-5)) * self.weight + self.bias
        return features.with_vectors(SENTENCE_EMBEDDING, result)


@dataclass(frozen=True, slots=True)
class Normalize:
    """Vectors to length 1; `source` and `target` name the arrays to read and to make."""

    source: str = SENTENCE_EMBEDDING
    target: str = SENTENCE_EMBEDDING

    def __call__(self, features: Features) -> Features:
        """Normalize, where there is something to normalize yet."""
        if self.source not in features.vectors:
            return features
        return features.with_vectors(self.target, normalize(features[self.source]))


def read_modules(directory: Path) -> tuple[Module, ...]:
    """The modules after the transformer, in order, from ``modules.json`` and the directories it names.

    Raises:
        BundleError: a file is missing or damaged, or a module or one of its settings is not known here.
    """
    path = directory / "modules.json"
    entries = read_module_entries(directory)
    if not entries or entries[0][0] != "Transformer" or entries[0][1] not in ("", "."):
        raise BundleError(f"{path} does not begin with a Transformer in the directory itself, as edgepipe needs it")
    modules = []
    for kind, folder in entries[1:]:
        if kind == "Dropout":
            continue  # it does nothing after training
        if kind not in _READERS:
            raise BundleError(
                f"{path} has a {kind} module; edgepipe has Transformer, Dropout, {', '.join(_READERS)}; use "
                "sentence-transformers for this model"
            )
        modules.append(_READERS[kind](directory / folder))
    return tuple(modules)


def _read_pooling(folder: Path) -> Pooling:
    config = read_json(folder / "config.json")
    named = config.get("pooling_mode")
    if named is None:
        # Older configs have a flag a mode, and none of them set means the mean.
        named = [mode for flag, mode in _POOLING_FLAGS.items() if config.get(flag)] or "mean"
    modes = tuple(named) if isinstance(named, list) else (named,)
    try:
        check_modes(modes)
    except InputError as error:
        raise BundleError(f"{folder / 'config.json'}: {error}") from error
    return Pooling(modes, bool(config.get("include_prompt", True)))


def _read_dense(folder: Path) -> Dense:
    path = folder / "config.json"
    config = read_json(path)
    name = str(config.get("activation_function", "torch.nn.modules.activation.Tanh"))
    package, _, kind = name.rpartition(".")
    if kind not in ACTIVATIONS or package.partition(".")[0] != "torch":
        raise BundleError(f"{path} has the activation function {name}; edgepipe has {', '.join(ACTIVATIONS)}")
    residual = bool(config.get("use_residual", False))
    with _weights(folder) as weights:
        weight, bias = weights["linear.weight"], weights["linear.bias"] if config.get("bias", True) else None
        _require_shape(folder, weight, (None, None))
        out, size = weight.shape
        shortcut = weights["residual.weight"] if residual and out != size else None
        if bias is not None:
            _require_shape(folder, bias, (out,))
        if shortcut is not None:
            _require_shape(folder, shortcut, (out, size))
    source = str(config.get("module_input_name", SENTENCE_EMBEDDING))
    target = str(config.get("module_output_name") or source)
    return Dense(weight, bias, ACTIVATIONS[kind], shortcut, residual, source, target)


def _read_layer_norm(folder: Path) -> LayerNorm:
    with _weights(folder) as weights:
        weight, bias = weights["norm.weight"], weights["norm.bias"]
    _require_shape(folder, weight, (None,))
    _require_shape(folder, bias, weight.shape)
    return LayerNorm(weight, bias)


def _require_shape(folder: Path, tensor: Vectors, shape: tuple[int | None, ...]) -> None:
    """Refuse a tensor that has other axes than a layer's, or other sizes than given; None is any size."""
    fits = len(tensor.shape) == len(shape) and all(
        size in (None, own) for own, size in zip(tensor.shape, shape, strict=True)
    )
    if not fits:
        wanted = " x ".join("any" if size is None else str(size) for size in shape)
        path = folder / "model.safetensors"
        raise BundleError(f"{path} has a tensor of {' x '.join(map(str, tensor.shape))} values, {wanted} were expected")


@contextmanager
def _weights(folder: Path) -> Iterator[dict[str, Vectors]]:
    """A layer's weights by name; one that is looked up and missing is an error that names those there are."""
    path = folder / "model.safetensors"
    weights = read_safetensors(path)
    try:
        yield weights
    except KeyError as error:
        raise BundleError(f"{path} has no {error}, only {', '.join(weights)}") from error


def _read_normalize(folder: Path) -> Normalize:
    # Before version 5.2 it had no config, and so no directory either once it was uploaded.
    path = folder / "config.json"
    config = read_json(path) if path.is_file() else {}
    source = str(config.get("module_input_name", SENTENCE_EMBEDDING))
    return Normalize(source, str(config.get("module_output_name") or source))


_READERS: dict[str, Callable[[Path], Module]] = {
    "Pooling": _read_pooling,
    "Dense": _read_dense,
    "LayerNorm": _read_layer_norm,
    "Normalize": _read_normalize,
}
