"""Weights that another tool quantized: transformers makes ordinary ones of them, where it can do so on a processor.

What is exported is what the codes and scales stand for. A tool that also rounds activations while a model runs rounds
them nowhere here: edgepipe's own recipes do that, and measure it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edgepipe.errors import CheckpointError
from edgepipe_export.requirements import require_dequantizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_KEY = "quantization_config"

# The package that each method needs; those that transformers makes ordinary weights of on a processor.
_LOADED_DEQUANTIZED = {
    "fp8": "accelerate",
    "mxfp8": "accelerate",
    "mxfp4": "accelerate",
    "compressed-tensors": "compressed-tensors",
}
_DEQUANTIZED_LATER = {"bitsandbytes": "bitsandbytes"}


def require_dequantizable(name: str, config: Mapping[str, Any]) -> None:
    """Refuse quantized weights of which transformers makes no ordinary ones on a processor.

    Args:
        name: What the checkpoint is called.
        config: Its ``config.json``.

    Raises:
        CheckpointError: they are such.
        DependencyError: the package that the method needs is not installed.
    """
    found = find_quantization(config)
    if found is None:
        return
    key, settings = found
    method = name_method(settings)
    package = (_LOADED_DEQUANTIZED | _DEQUANTIZED_LATER).get(method) if key == _KEY else None
    if package is None:
        raise quantized_error(name, method, f"{key} in config.json")
    if len(settings.get("config_groups") or ()) > 1:
        raise CheckpointError(
            f"{name} is quantized by {method} in several ways (config_groups in config.json), and transformers reads "
            "all its layers in the first of them; export the checkpoint that it was made from"
        )
    require_dequantizer(method, package)


def find_quantization(config: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]] | None:
    """The settings of a quantization in a config, or in that of its text model.

    Returns:
        The key that they have there, and the settings; None for ordinary weights.
    """
    for each in (config, config.get("text_config")):
        for key in (_KEY, "compression_config"):
            settings = each.get(key) if isinstance(each, Mapping) else None
            if settings:
                return key, settings if isinstance(settings, Mapping) else {}
    return None


def rounds_activations(config: Mapping[str, Any]) -> bool:
    """Whether the tool that quantized some weights also rounds activations while a model runs; nothing here does."""
    found = find_quantization(config)
    if found is None:
        return False
    groups = found[1].get("config_groups")
    schemes = list(groups.values()) if isinstance(groups, Mapping) else []
    in_groups = any(isinstance(each, Mapping) and each.get("input_activations") for each in schemes)
    return in_groups or bool(found[1].get("load_in_8bit"))


def name_method(settings: Mapping[str, Any]) -> str:
    """What transformers calls the method of some settings."""
    if settings.get("load_in_8bit") or settings.get("load_in_4bit"):
        return "bitsandbytes"  # older versions named no method
    return str(settings.get("quant_method") or "another tool")


def quantized_error(name: str, method: str, where: str) -> CheckpointError:
    """The error for weights that stay quantized; `where` is the file that says so."""
    return CheckpointError(
        f"{name} is quantized by {method} already ({where}), and transformers makes no ordinary weights of that on a "
        "processor; export the checkpoint that it was made from, and choose how edgepipe quantizes it with dtypes= "
        "(--dtype int8)"
    )


def ask_dequantized(config: Any) -> None:
    """Have transformers make ordinary weights while it loads, where it can; the config is changed."""
    for each in (config, config.get_text_config(decoder=True)):
        settings = getattr(each, _KEY, None)
        if isinstance(settings, dict) and name_method(settings) in _LOADED_DEQUANTIZED:
            settings["dequantize"] = True


def dequantize(model: PreTrainedModel) -> PreTrainedModel:
    """A model with ordinary weights in fp32; one that has them already is returned as it is."""
    import torch

    if getattr(model, "is_quantized", False):
        model = model.dequantize(dtype=torch.float32)
        model.is_quantized = model.is_loaded_in_4bit = model.is_loaded_in_8bit = False  # PEFT asks the last two
    for config in (model.config, model.config.get_text_config(decoder=True)):
        if hasattr(config, _KEY):
            delattr(config, _KEY)
    return model.to(dtype=torch.float32)
