"""The modules behind a transformer against those of sentence-transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers.sentence_transformer import modules as models

from edgepipe.embeddings.modules import (
    ACTIVATIONS,
    SENTENCE_EMBEDDING,
    TOKEN_EMBEDDINGS,
    Dense,
    Features,
    LayerNorm,
    Normalize,
    Pooling,
    read_modules,
)
from edgepipe.errors import BundleError
from tests.runtime.embeddings.sentence_modules import HIDDEN, PROMPT, batch, write_modules


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
        ({"pooling_mode": True}, r"one or several of cls.*got \[True\]"),
        ({"pooling_mode": 7}, r"one or several of cls.*got \[7\]"),
        ({"pooling_mode": [[]]}, r"one or several of cls.*got \[\[\]\]"),
        ({"pooling_mode": ["cls"] * 9 + [{"a": 1}]}, "one or several of cls"),
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


ONE_TEXT = np.array([[1, 1]])


def test_a_module_that_reads_what_nobody_made() -> None:
    features = Features({}, ONE_TEXT)
    with pytest.raises(BundleError, match="a module reads 'token_embeddings', and none before it makes that"):
        Pooling(("mean",))(features)
    assert Normalize()(features) is features, "there is nothing to normalize yet"


def test_a_module_adds_its_result_and_changes_nothing_else() -> None:
    tokens = np.array([[[3, 4], [0, 0]]], np.float32)
    features = Features({TOKEN_EMBEDDINGS: tokens}, ONE_TEXT, 1)
    pooled = Pooling(("max",))(features)
    assert list(features.vectors) == [TOKEN_EMBEDDINGS]
    assert pooled[SENTENCE_EMBEDDING].tolist() == [[3, 4]]
    assert pooled[TOKEN_EMBEDDINGS] is tokens
    assert Normalize(target="unit")(pooled)["unit"] == pytest.approx(np.array([[0.6, 0.8]]))
    assert Pooling(("max",), include_prompt=False)(features)[SENTENCE_EMBEDDING].tolist() == [[0, 0]]


def test_a_dense_layer_of_another_width() -> None:
    layer = Dense(np.ones((2, 3), np.float32), None, ACTIVATIONS["Identity"], None, False, "given", "made")
    features = Features({"given": np.ones((1, 3), np.float32)}, ONE_TEXT)
    assert layer(features)["made"].tolist() == [[3, 3]]
    with pytest.raises(BundleError, match="a Dense module takes 3 values, it was given 4"):
        layer(features.with_vectors("given", np.ones((1, 4), np.float32)))


@pytest.mark.parametrize(
    ("name", "shape", "said"),
    [
        ("linear.weight", (4,), "4 values, any x any were expected"),
        ("linear.weight", (4, HIDDEN, 1), "any x any were expected"),
        ("linear.bias", (5,), "5 values, 4 were expected"),
        ("linear.bias", (), "4 were expected"),
        ("norm.weight", (1, HIDDEN), "any were expected"),
        ("norm.bias", (1,), f"1 values, {HIDDEN} were expected"),
    ],
)
def test_tensors_of_other_shapes(tmp_path: Path, name: str, shape: tuple[int, ...], said: str) -> None:
    layer = models.LayerNorm(HIDDEN) if name.startswith("norm") else models.Dense(HIDDEN, 4)
    folder = write_modules(tmp_path, [models.Pooling(HIDDEN, "mean"), layer])
    (path,) = folder.glob("2_*/model.safetensors")
    save_file(load_file(path) | {name: torch.ones(shape)}, path)
    with pytest.raises(BundleError, match=f"has a tensor of .*{said}"):
        read_modules(folder)


def test_a_layer_norm_of_another_width() -> None:
    norm = LayerNorm(np.ones(1, np.float32), np.ones(1, np.float32))
    with pytest.raises(BundleError, match="a LayerNorm module takes 1 values, it was given 4"):
        norm(Features({SENTENCE_EMBEDDING: np.ones((1, 4), np.float32)}, ONE_TEXT))


def test_equal_values_are_normalized_to_the_bias() -> None:
    norm = LayerNorm(np.full(4, 5, np.float32), np.arange(4, dtype=np.float32))
    features = Features({SENTENCE_EMBEDDING: np.full((1, 4), 9, np.float32)}, ONE_TEXT)
    assert norm(features)[SENTENCE_EMBEDDING].tolist() == [[0, 1, 2, 3]]
