"""Weights that other tools quantized: what transformers makes of them on a processor, or a refusal before any work."""

from __future__ import annotations

import inspect
import json
import shutil
from pathlib import Path
from typing import Any

import bitsandbytes.functional
import pytest
import torch
from compressed_tensors.compressors import ModelCompressor
from compressed_tensors.quantization import (
    QuantizationArgs,
    QuantizationConfig,
    QuantizationScheme,
    apply_quantization_config,
)
from compressed_tensors.quantization.utils import calculate_qparams
from peft import IA3Config, LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig
from transformers.quantizers.auto import AUTO_QUANTIZER_MAPPING

from edgepipe.errors import CheckpointError
from edgepipe_export.checkpoint.formats.quantized_weights import (
    find_quantization,
    name_method,
    require_dequantizable,
    rounds_activations,
)
from edgepipe_export.checkpoint.load import load
from edgepipe_export.checkpoint.resolve import Request, read_weights_config, resolve
from tests.export.checkpoint.small_checkpoint import edit_config
from tests.tiny.generative import build_generative


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base") / "llama"
    build_generative("llama", directory=folder, hidden_size=64, intermediate_size=128)
    return folder


@pytest.fixture
def quantized(base: Path, tmp_path: Path) -> Path:
    """A copy of it to be quantized."""
    return Path(shutil.copytree(base, tmp_path / "quantized"))


def load_both(folder: Path) -> tuple[Any, Any]:
    """What the exporter loads, and what transformers does."""
    reference = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    ours = load(resolve(Request(folder))).model
    assert all(parameter.dtype == torch.float32 for parameter in ours.parameters())
    assert not hasattr(ours.config, "quantization_config")
    return ours, reference.eval()


def require_equal(folder: Path, base: Path) -> None:
    ours, reference = load_both(folder)
    inputs = AutoTokenizer.from_pretrained(base)("Hello there, my friend", return_tensors="pt")
    with torch.no_grad():
        torch.testing.assert_close(ours(**inputs).logits, reference(**inputs).logits, atol=1e-4, rtol=1e-3)
        plain = AutoModelForCausalLM.from_pretrained(base)
        assert not torch.allclose(ours(**inputs).logits, plain(**inputs).logits, atol=1e-2)


BITS: dict[str, dict[str, Any]] = {
    "4 bits": {"load_in_4bit": True},
    "nf4, scales quantized too": {
        "load_in_4bit": True,
        "bnb_4bit_quant_type": "nf4",
        "bnb_4bit_use_double_quant": True,
    },
    "8 bits": {"load_in_8bit": True},
}


@pytest.mark.parametrize("kind", BITS)
def test_bitsandbytes(kind: str, base: Path, tmp_path: Path) -> None:
    config = BitsAndBytesConfig(**BITS[kind])
    AutoModelForCausalLM.from_pretrained(base, quantization_config=config).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(base).save_pretrained(tmp_path)
    ours, reference = load_both(tmp_path)
    found = reference.model.layers[1].mlp.up_proj.weight
    if config.load_in_4bit:
        expected = bitsandbytes.functional.dequantize_4bit(found.data, found.quant_state)
    else:
        expected = bitsandbytes.functional.int8_vectorwise_dequant(found.data, found.SCB)
    torch.testing.assert_close(ours.model.layers[1].mlp.up_proj.weight, expected.float())


@pytest.mark.parametrize(
    "kind", [LoraConfig(init_lora_weights=False), IA3Config(init_ia3_weights=False)], ids=["lora", "ia3"]
)
def test_an_adapter_of_a_quantized_base(kind: Any, base: Path, tmp_path: Path) -> None:
    """As QLoRA leaves it: the base may be named by its quantized form."""
    config = BitsAndBytesConfig(**BITS["nf4, scales quantized too"])
    AutoModelForCausalLM.from_pretrained(base, quantization_config=config).save_pretrained(tmp_path / "base")
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.save_pretrained(tmp_path / "base")
    kind.task_type = "CAUSAL_LM"
    torch.manual_seed(0)
    get_peft_model(AutoModelForCausalLM.from_pretrained(base), kind).save_pretrained(tmp_path / "adapter")
    checkpoint = resolve(Request(tmp_path / "adapter", base=tmp_path / "base"))
    adapted = PeftModel.from_pretrained(load(resolve(Request(tmp_path / "base"))).model, tmp_path / "adapter").eval()
    inputs = tokenizer("Hello there", return_tensors="pt")
    with torch.no_grad():
        expected = adapted(**inputs).logits
        torch.testing.assert_close(load(checkpoint).model(**inputs).logits, expected, atol=1e-4, rtol=1e-3)


def test_fp8_in_blocks(quantized: Path, base: Path) -> None:
    side, weights = 8, {}
    for name, weight in load_file(quantized / "model.safetensors").items():
        weights[name] = weight
        if "proj" in name:
            blocks = weight.reshape(weight.shape[0] // side, side, weight.shape[1] // side, side)
            scales = blocks.abs().amax((1, 3)) / torch.finfo(torch.float8_e4m3fn).max
            codes = (blocks / scales[:, None, :, None]).reshape(weight.shape)
            weights |= {name: codes.to(torch.float8_e4m3fn), f"{name}_scale_inv": scales}
    save_file(weights, quantized / "model.safetensors", metadata={"format": "pt"})
    settings = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [side, side]}
    edit_config(quantized, quantization_config=settings)
    require_equal(quantized, base)


def compress(folder: Path, base: Path, *, activations: QuantizationArgs | None) -> None:
    """Quantize to 4 bits with compressed-tensors, as llm-compressor writes it."""
    model = AutoModelForCausalLM.from_pretrained(base)
    weights = QuantizationArgs(num_bits=4, type="int", strategy="group", group_size=32, symmetric=True)
    scheme = QuantizationScheme(targets=["Linear"], weights=weights, input_activations=activations)
    config = QuantizationConfig(
        config_groups={"group_0": scheme}, ignore=["lm_head"], format="pack-quantized", quantization_status="compressed"
    )
    apply_quantization_config(model, config)
    for module in model.modules():
        if hasattr(module, "weight_scale"):
            groups = module.weight.data.unflatten(1, (-1, 32))
            module.weight_scale.data, _ = calculate_qparams(groups.amin(-1), groups.amax(-1), weights)
    compressor = ModelCompressor.from_pretrained_model(model, quantization_format="pack-quantized")
    compressor.compress_model(model)
    model.save_pretrained(folder)
    compressor.update_config(folder)


def test_compressed_tensors(quantized: Path, base: Path) -> None:
    compress(quantized, base, activations=None)
    require_equal(quantized, base)


def test_activations_that_are_rounded_too(quantized: Path, base: Path) -> None:
    compress(quantized, base, activations=QuantizationArgs(num_bits=8, strategy="token", dynamic=True))
    assert rounds_activations(read_weights_config(resolve(Request(quantized))))


@pytest.mark.parametrize(
    ("settings", "noted"),
    [
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, True),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, False),
        ({"quant_method": "fp8"}, False),  # transformers itself dequantizes these on a processor
        (None, False),
    ],
)
def test_what_rounds_activations(settings: Any, noted: bool) -> None:
    assert rounds_activations({"quantization_config": settings}) is noted


def test_several_schemes_are_refused() -> None:
    settings = {"quant_method": "compressed-tensors", "config_groups": {"a": {}, "b": {}}}
    with pytest.raises(CheckpointError, match="quantized by compressed-tensors in several ways"):
        require_dequantizable("x", {"quantization_config": settings})


DEQUANTIZED = {"bitsandbytes_4bit", "bitsandbytes_8bit", "compressed-tensors", "fp8", "mxfp4", "mxfp8"}


@pytest.mark.parametrize("method", sorted(set(AUTO_QUANTIZER_MAPPING) - DEQUANTIZED))
def test_every_other_method_of_transformers_is_refused(method: str) -> None:
    with pytest.raises(CheckpointError, match=f"x is quantized by {method} already .*no ordinary weights"):
        require_dequantizable("x", {"quantization_config": {"quant_method": method}})


def test_what_can_be_dequantized_is_what_transformers_says() -> None:
    """A new method, or one that learns to be dequantized, is to be looked at."""
    loaded = {
        name
        for name, kind in AUTO_QUANTIZER_MAPPING.items()
        if '"dequantize"' in inspect.getsource(kind.get_load_operations) and "get_load_operations" in vars(kind)
    }
    later = {name for name, kind in AUTO_QUANTIZER_MAPPING.items() if "_dequantize" in vars(kind)}
    # Metal's weights are loaded to Apple's GPU, HIGGS's are decoded by kernels of NVIDIA's.
    assert (loaded | later) - {"metal", "higgs"} == DEQUANTIZED


def test_where_settings_are_found() -> None:
    settings = {"quant_method": "awq"}
    assert find_quantization({"text_config": {"quantization_config": settings}}) == ("quantization_config", settings)
    assert find_quantization({"compression_config": settings}) == ("compression_config", settings)
    assert find_quantization(json.loads("{}")) is None
    assert name_method({"load_in_4bit": True}) == "bitsandbytes"
    with pytest.raises(CheckpointError, match="compression_config in config"):
        require_dequantizable("x", {"compression_config": {"quant_method": "compressed-tensors"}})
