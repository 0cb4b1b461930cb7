"""The arguments of transformers' ``pipeline`` and of its calls that have no use here: which values are taken, as they
change nothing, and what to do instead of the others.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from edgepipe.arguments import (
    ReferenceOption,
    drop_reference_options,
    is_any,
    is_count,
    is_flag,
    is_none,
    is_off,
    is_one_of,
)
from edgepipe.bundle.model_config import ModelConfig
from edgepipe.errors import InputError
from edgepipe.models.variants import variant_name

_TEXT_ALONE = "edgepipe runs text alone; leave it out"
_ASSISTED = "assisted decoding gives the same text; leave it out"


class TorchDtype(Protocol):
    """A ``torch.dtype``."""

    @property
    def is_floating_point(self) -> bool:
        """Whether its numbers have fractions."""
        ...


class TorchDevice(Protocol):
    """A ``torch.device``."""

    @property
    def type(self) -> str:
        """``"cpu"``, ``"cuda"`` …"""
        ...

    @property
    def index(self) -> Any:
        """Which one of its type."""
        ...


AnyDtype = str | TorchDtype | None
AnyDevice = str | int | TorchDevice | None
Verify = Literal["first", "always", "never"]

# What `pipeline` of transformers takes beside what edgepipe's own takes. Those of `_RESOLVED` are looked at below.
PIPELINE_OPTIONS: Mapping[str, ReferenceOption] = {
    "feature_extractor": ReferenceOption(is_none, _TEXT_ALONE),
    "image_processor": ReferenceOption(is_none, _TEXT_ALONE),
    "video_processor": ReferenceOption(is_none, _TEXT_ALONE),
    "processor": ReferenceOption(is_none, _TEXT_ALONE),
    "use_fast": ReferenceOption(is_flag, "pass True, False or None; all tokenizers are fast here"),
    "trust_remote_code": ReferenceOption(
        is_off, "a bundle has no code; pass --trust-remote-code to edgepipe export, where you have read the code"
    ),
    "code_revision": ReferenceOption(
        lambda value: value is None or isinstance(value, str), "a bundle has no code; leave it out"
    ),
    "pipeline_class": ReferenceOption(is_none, "make a subclass of edgepipe's own class of the task"),
    "framework": ReferenceOption(
        lambda value: is_one_of(value, (None, "pt")),
        'results are those of PyTorch, on onnxruntime; pass "pt", or leave it out',
    ),
    "binary_output": ReferenceOption(is_off, "results are plain objects; pickle them yourself"),
    "args_parser": ReferenceOption(is_none, "inputs are read as by transformers' own; leave it out"),
    "assistant_model": ReferenceOption(is_none, _ASSISTED),  # of other tasks than text-generation
    "assistant_tokenizer": ReferenceOption(is_none, _ASSISTED),
    "_commit_hash": ReferenceOption(is_any, ""),
}
_RESOLVED = ("config", "tokenizer", "token", "device_map", "torch_dtype", "model_kwargs")
PIPELINE_OPTION_NAMES = frozenset([*PIPELINE_OPTIONS, *_RESOLVED])

# What every call of a pipeline of transformers takes.
CALL_OPTIONS: Mapping[str, ReferenceOption] = {
    "num_workers": ReferenceOption(is_count, "pass a whole number; threads are those of num_threads"),
}

# What `model_kwargs` may hold beside dtypes and devices: how PyTorch loads the weights, and how it computes.
_MODEL_OPTIONS: Mapping[str, ReferenceOption] = {
    "attn_implementation": ReferenceOption(is_any, ""),
    "experts_implementation": ReferenceOption(is_any, ""),
    "low_cpu_mem_usage": ReferenceOption(is_any, ""),
    "use_safetensors": ReferenceOption(is_any, ""),
    "use_cache": ReferenceOption(is_flag, "pass True or False"),
}

_PLACED_BY_ITSELF = ("auto", "balanced", "balanced_low_0", "sequential")
# Entries of a config by which results are read, and those that say where it came from, or how PyTorch computes.
_READ = ("id2label", "problem_type", "prefix", "task_specific_params")
_CHANGE_NOTHING = (
    "_name_or_path", "architectures", "dtype", "torch_dtype", "transformers_version", "transformers.js_config",
    "use_cache", "return_dict", "output_attentions", "output_hidden_states",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class PipelineOptions:
    """What is left of the arguments of ``pipeline``.

    Attributes:
        dtype: The variant, as the caller named it.
        device: The device, likewise.
        token: For the Hub; None for the one that is saved.
        tokenizer: In place of the bundle's; None for the bundle's own.
        task_options: Those of the task.
    """

    dtype: Any
    device: Any
    token: str | bool | None
    tokenizer: Any
    task_options: Mapping[str, Any]


def take_pipeline_options(options: Mapping[str, Any], model: Any, dtype: Any, device: Any) -> PipelineOptions:
    """Tell the arguments of transformers' ``pipeline`` from the task's.

    Args:
        options: All keyword arguments that are not edgepipe's own.
        model: The bundle that was named.
        dtype: The variant, None for the bundle's own choice.
        device: The device, None for the default.

    Raises:
        InputError: one would change results, or two contradict each other.
    """
    if not options and isinstance(device, str | int | None):
        return PipelineOptions(dtype, device, None, None, options)
    assistant = options.get("assistant_model")
    left = drop_reference_options({**options, "assistant_model": None}, PIPELINE_OPTIONS)
    if assistant is not None:  # the task looks at it
        left["assistant_model"] = assistant
    left.pop("config", None)  # looked at when the bundle is open
    tokenizer = left.pop("tokenizer", None)
    token = left.pop("token", None)
    if token is not None and not isinstance(token, (str, bool)):
        raise InputError(f"token must be a text, True, False or None, got {type(token).__name__}")
    given = left.pop("model_kwargs", None)
    if given is not None and not isinstance(given, Mapping):
        raise InputError(f"model_kwargs must be a dict, got {given!r:.80}")
    kwargs = drop_reference_options(given or {}, _MODEL_OPTIONS)
    dtypes = [dtype, left.pop("torch_dtype", None), kwargs.pop("dtype", None), kwargs.pop("torch_dtype", None)]
    maps = [left.pop("device_map", None), kwargs.pop("device_map", None)]
    if kwargs:
        raise InputError(
            f"model_kwargs has {next(iter(kwargs))!r}, which is for PyTorch; give it to edgepipe export where it is an "
            "option there, or leave it out"
        )
    return PipelineOptions(
        _only("dtype", map(variant_name, dtypes)),
        _only("device", [_device_name(each) for each in (device, *map(_single_device, maps))]),
        token,
        None if tokenizer is None or _is_same_path(tokenizer, model) else tokenizer,
        left,
    )


def check_same_config(config: Any, own: ModelConfig, model: Any) -> None:
    """Check that a config that was passed says what the bundle's own does.

    Args:
        config: Its name, a dict, or an object of transformers.
        own: The bundle's ``config.json``.
        model: The bundle that was named.

    Raises:
        InputError: it says something else, or cannot be read.
    """
    if config is None or _is_same_path(config, model):
        return
    if hasattr(config, "to_dict"):
        config = config.to_dict()
    if not isinstance(config, Mapping):
        raise InputError(
            f"config={config!r:.80} is not taken: a bundle has its own; leave it out, or export the checkpoint with "
            "the config that you want"
        )
    given = json.loads(json.dumps(dict(config), default=str))
    names = [*own, *(name for name in _READ if given.get(name) is not None)]
    for name in names:
        if name in given and name not in _CHANGE_NOTHING and not _says_the_same(name, given[name], own.get(name)):
            raise InputError(
                f"config says {name}={given[name]!r:.60}, the bundle's says {own.get(name)!r:.60}: export the "
                "checkpoint with that config, or leave it out"
            )


def _says_the_same(name: str, given: Any, own: Any) -> bool:
    if own is None and name == "id2label":  # what every config of transformers says that names no labels
        return all(label == f"LABEL_{index}" for index, label in given.items())
    return bool(given == own)


def _is_same_path(given: Any, model: Any) -> bool:
    """Whether two names are those of one folder or repository."""
    paths = [getattr(each, "path", each) for each in (given, model)]
    if not all(isinstance(each, (str, os.PathLike)) for each in paths):
        return False
    first, second = map(os.fspath, paths)
    return first == second or os.path.realpath(first) == os.path.realpath(second)


def _device_name(device: Any) -> Any:
    """A ``torch.device`` by its name; anything else as it is."""
    return str(device) if hasattr(device, "type") and hasattr(device, "index") else device


def _single_device(device_map: Any) -> Any:
    """The device that a `device_map` of accelerate names; None where it leaves the choice.

    Raises:
        InputError: it names several.
    """
    named = list(device_map.values()) if isinstance(device_map, Mapping) else [device_map]
    if len(set(map(str, named))) != 1:
        raise InputError(
            f"device_map={device_map!r:.80} names {len(set(map(str, named)))} devices, and a bundle runs on one; pass "
            "device instead"
        )
    return None if isinstance(named[0], str) and named[0] in _PLACED_BY_ITSELF else named[0]


def _only(name: str, given: Iterable[Any]) -> Any:
    """The one value of an argument that has several names; None where none of them has one.

    Raises:
        InputError: they have different values.
    """
    said = [each for each in given if each is not None]
    for other in said[1:]:
        if other != said[0]:
            raise InputError(f"{name} is given twice, as {said[0]!r} and as {other!r}; pass one of them")
    return said[0] if said else None
