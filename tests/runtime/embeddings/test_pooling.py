"""Pooling and the other modules against those of sentence-transformers, on random tensors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from sentence_transformers.sentence_transformer import modules as models

from edgepipe.bundle.third_party import is_sentence_encoder
from edgepipe.embeddings.modules import (
    ACTIVATIONS,
    SENTENCE_EMBEDDING,
    TOKEN_EMBEDDINGS,
    Features,
    Pooling,
    read_modules,
)
from edgepipe.embeddings.pooling import MODES, normalize, pool
from edgepipe.embeddings.safetensors import read_safetensors
from edgepipe.embeddings.sentence_config import read_sentence_config
from edgepipe.errors import BundleError, InputError

BATCH, LENGTH, HIDDEN = 5, 7, 6
# Tokens of each row; the last row is no longer than the prompt.
LENGTHS = (7, 5, 4, 6, 3)
PROMPT = 3


def batch(side: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Random float32[5, 7, 6] and a mask with padding on one side."""
    hidden = torch.from_numpy(np.random.default_rng(0).standard_normal((BATCH, LENGTH, HIDDEN), dtype=np.float32))
    mask = torch.zeros((BATCH, LENGTH), dtype=torch.int64)
    for row, length in enumerate(LENGTHS):
        mask[row, :length] = 1
    return hidden, mask if side == "right" else mask.flip(1)


@pytest.mark.parametrize("prompt", [0, PROMPT])
@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("modes", [*((mode,) for mode in MODES), ("cls", "mean", "max"), ("lasttoken", "weightedmean")])
def test_every_mode(modes: tuple[str, ...], side: str, prompt: int) -> None:
    hidden, mask = batch(side)
    reference = models.Pooling(HIDDEN, modes, include_prompt=False)
    features = {"token_embeddings": hidden, "attention_mask": mask, "prompt_length": prompt}
    expected = reference(features)["sentence_embedding"].numpy()
    got = pool(hidden.numpy(), mask.numpy(), modes, prompt)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_padding_does_not_matter() -> None:
    hidden, mask = (tensor.numpy() for tensor in batch("right"))
    for row, length in enumerate(LENGTHS):
        alone = pool(hidden[row : row + 1, :length], mask[row : row + 1, :length], tuple(MODES))
        np.testing.assert_allclose(pool(hidden, mask, tuple(MODES))[row], alone[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("modes", [("average",), (), ("mean", "MAX")])
def test_unknown_modes(modes: tuple[str, ...]) -> None:
    hidden, mask = (tensor.numpy() for tensor in batch("right"))
    with pytest.raises(InputError, match="one or several of cls, max, mean"):
        pool(hidden, mask, modes)


def test_normalize_with_a_vector_of_length_zero() -> None:
    vectors = torch.from_numpy(np.random.default_rng(1).standard_normal((4, 9), dtype=np.float32))
    vectors[2] = 0
    expected = torch.nn.functional.normalize(vectors, p=2, dim=-1).numpy()
    np.testing.assert_allclose(normalize(vectors.numpy()), expected, rtol=1e-6)


# Weights.


def test_safetensors_of_every_float_type(tmp_path: Path) -> None:
    values = torch.from_numpy(np.random.default_rng(2).standard_normal((3, 4)))
    tensors = {str(dtype): values.to(dtype) for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16)}
    save_file(tensors, tmp_path / "w.safetensors", metadata={"format": "pt"})
    found = read_safetensors(tmp_path / "w.safetensors")
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == np.float32
        np.testing.assert_array_equal(found[name], tensor.to(torch.float32).numpy())


def test_what_is_no_safetensors_file(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    with pytest.raises(BundleError, match=r"w\.safetensors is missing"):
        read_safetensors(path)
    save_file({"a": torch.ones(4)}, path)
    whole = path.read_bytes()
    for content in (b"", b"\x01", b"not a header at all", whole[:-1]):
        path.write_bytes(content)
        with pytest.raises(BundleError, match="is no safetensors file"):
            read_safetensors(path)
    save_file({"a": torch.ones(4, dtype=torch.int64)}, path)
    with pytest.raises(BundleError, match="I64"):
        read_safetensors(path)


# Modules on disk, as sentence-transformers writes them.


def write_modules(folder: Path, modules: list[Any], *, package: str = "sentence_transformers.models") -> Path:
    """Save modules after a transformer (which is not there), with a modules.json."""
    entries = [{"idx": 0, "name": "0", "path": "", "type": f"{package}.Transformer"}]
    for index, module in enumerate(modules, 1):
        kind = type(module).__name__
        path = folder / f"{index}_{kind}"
        path.mkdir(parents=True)
        module.save(str(path))
        entries.append({"idx": index, "name": str(index), "path": path.name, "type": f"{package}.{kind}"})
    folder.mkdir(exist_ok=True)
    (folder / "modules.json").write_text(json.dumps(entries))
    return folder


def assert_equal(folder: Path, modules: list[Any], prompt: int = 0) -> None:
    """Compare the whole chain with the reference's."""
    hidden, mask = batch("right")
    expected: Any = {"token_embeddings": hidden, "attention_mask": mask, "prompt_length": prompt}
    with torch.no_grad():
        for module in modules:
            expected = module.eval()(expected)
    got = Features({TOKEN_EMBEDDINGS: hidden.numpy()}, mask.numpy(), prompt)
    for module in read_modules(folder):
        got = module(got)
    assert got[SENTENCE_EMBEDDING].dtype == np.float32
    np.testing.assert_allclose(got[SENTENCE_EMBEDDING], expected["sentence_embedding"].numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_dense_with_every_activation(tmp_path: Path, activation: str) -> None:
    torch.manual_seed(0)
    modules = [
        models.Pooling(HIDDEN, "mean"),
        models.Dense(HIDDEN, 4, activation_function=getattr(torch.nn, activation)()),
    ]
    assert_equal(write_modules(tmp_path, modules), modules)


@pytest.mark.parametrize(
    "options",
    [
        {"out_features": 4, "bias": False},
        {"out_features": HIDDEN, "use_residual": True},
        {"out_features": 4, "use_residual": True},
    ],
)
def test_dense_with_other_forms(tmp_path: Path, options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    modules = [models.Pooling(HIDDEN, ("mean",)), models.Dense(HIDDEN, **options)]
    assert_equal(write_modules(tmp_path, modules), modules)


def test_a_long_chain_with_a_layer_before_the_pooling(tmp_path: Path) -> None:
    torch.manual_seed(0)
    norm = models.LayerNorm(8)
    torch.nn.init.uniform_(norm.norm.weight)
    torch.nn.init.uniform_(norm.norm.bias)
    modules = [
        models.Dense(HIDDEN, 4, module_input_name="token_embeddings"),
        models.Pooling(4, ("lasttoken", "mean"), include_prompt=False),
        models.Dropout(0.5),
        norm,
        models.Dense(8, 3, bias=False, activation_function=None),
        models.Normalize(),
    ]
    assert_equal(write_modules(tmp_path, modules), modules, PROMPT)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"pooling_mode_cls_token": True}, Pooling(("cls",))),
        ({"pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": True}, Pooling(("max", "mean"))),
        ({"pooling_mode_cls_token": False}, Pooling(("mean",))),
        ({"pooling_mode": "lasttoken"}, Pooling(("lasttoken",))),
        ({"pooling_mode": ["mean", "cls"], "include_prompt": False}, Pooling(("mean", "cls"), include_prompt=False)),
    ],
)
def test_old_and_new_pooling_configs(tmp_path: Path, config: dict[str, Any], expected: Pooling) -> None:
    modules = [models.Pooling(HIDDEN, "mean")]
    folder = write_modules(tmp_path, modules, package="sentence_transformers.sentence_transformer.modules.pooling")
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": HIDDEN, **config}))
    assert read_modules(folder) == (expected,)
    reference = models.Pooling.load(str(folder / "1_Pooling"))
    modes = reference.pooling_mode
    assert expected == Pooling((modes,) if isinstance(modes, str) else tuple(modes), reference.include_prompt)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"type": "sentence_transformers.models.LSTM"}, r"has a LSTM module; edgepipe has .*Pooling"),
        ({"type": "their_code.Pooling"}, r"has a their_code\.Pooling module"),
        ({"path": "../1_Pooling"}, "outside the bundle"),
        ({"path": "/1_Pooling"}, "outside the bundle"),
        ({"path": "2_Pooling"}, r"2_Pooling.config\.json is missing"),
        ({"path": None}, "each module needs a type and a path"),
    ],
)
def test_modules_that_cannot_be_read(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    folder = write_modules(tmp_path, [models.Pooling(HIDDEN, "mean")])
    entries = json.loads((folder / "modules.json").read_text())
    entries[1] |= change
    (folder / "modules.json").write_text(json.dumps(entries))
    with pytest.raises(BundleError, match=message):
        read_modules(folder)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"pooling_mode": "median"}, "one or several of cls"),
        ({"activation_function": "torch.nn.modules.activation.Mish"}, r"Mish; edgepipe has Identity, Tanh"),
        ({"activation_function": "their_code.Tanh"}, r"their_code\.Tanh; edgepipe has"),
        ({"bias": True}, r"no 'linear\.bias', only linear\.weight"),
    ],
)
def test_settings_that_cannot_be_followed(tmp_path: Path, config: dict[str, Any], message: str) -> None:
    folder = write_modules(tmp_path, [models.Pooling(HIDDEN, "mean"), models.Dense(HIDDEN, 4, bias=False)])
    path = folder / ("1_Pooling" if "pooling_mode" in config else "2_Dense") / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | config))
    with pytest.raises(BundleError, match=message):
        read_modules(folder)


def test_what_is_no_list_of_modules(tmp_path: Path) -> None:
    path = tmp_path / "modules.json"
    for content, message in (("{", "is not valid JSON"), ("{}", "holds a dict"), ("[]", "does not begin with")):
        path.write_text(content)
        with pytest.raises(BundleError, match=message):
            read_modules(tmp_path)


def test_which_directories_are_sentence_encoders(tmp_path: Path) -> None:
    assert not is_sentence_encoder(tmp_path)
    (tmp_path / "modules.json").write_text('[{"path": "", "type": "sentence_transformers.base.modules.Transformer"}]')
    assert not is_sentence_encoder(tmp_path), "a cross-encoder has no pooling"
    assert is_sentence_encoder(write_modules(tmp_path, [models.Pooling(HIDDEN, "mean")]))


# The transformer's own settings.


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"transformer_task": "fill-mask"}, "transformer_task 'fill-mask'"),
        ({"modality_config": {"text": {"method": "forward", "method_output_name": "pooler_output"}}}, "pooler_output"),
        ({"processing_kwargs": {"text": {"padding": "max_length"}}}, "processing_kwargs"),
        ({"tokenizer_args": {"padding_side": "left"}}, "sets padding_side in tokenizer_args"),
        ({"max_seq_length": "long"}, "max_seq_length must be a whole number"),
    ],
)
def test_transformer_settings_that_cannot_be_followed(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    (tmp_path / "sentence_bert_config.json").write_text(json.dumps(settings))
    with pytest.raises(BundleError, match=message):
        read_sentence_config(tmp_path)


def test_limits_by_each_of_their_names(tmp_path: Path) -> None:
    assert read_sentence_config(tmp_path).max_seq_length is None
    (tmp_path / "sentence_roberta_config.json").write_text('{"tokenizer_args": {"model_max_length": 7}}')
    assert read_sentence_config(tmp_path).max_seq_length == 7
    (tmp_path / "sentence_bert_config.json").write_text('{"max_seq_length": 9, "do_lower_case": true}')
    found = read_sentence_config(tmp_path)
    assert (found.max_seq_length, found.lower_case, found.modules) == (9, True, None)
