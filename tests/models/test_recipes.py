"""Recipes: every file parses, every task has one, and they quote transformers exactly."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import edgepipe_models
from edgepipe_models import Recipe, recipe, recipes

TASKS = {
    "text-classification",
    "token-classification",
    "question-answering",
    "fill-mask",
    "zero-shot-classification",
    "feature-extraction",
    "text-generation",
    "summarization",
    "translation_en_to_fr",
    "translation_en_to_de",
    "translation_en_to_ro",
    "text2text-generation",
    "sentence-similarity",
}
DTYPES = {"fp32", "fp16", "int8", "int8-static", "w8", "q4", "q4f16"}

# transformers 5 dropped these tasks. What 4.57.6 pins in its pipelines/__init__.py, for PyTorch:
PINNED_IN_4_57_6 = {
    "question-answering": ("distilbert/distilbert-base-cased-distilled-squad", "564e9b5"),
    "summarization": ("sshleifer/distilbart-cnn-12-6", "a4f8f3e"),
    "translation_en_to_fr": ("google-t5/t5-base", "a9723ea"),
    "translation_en_to_de": ("google-t5/t5-base", "a9723ea"),
    "translation_en_to_ro": ("google-t5/t5-base", "a9723ea"),
    "text2text-generation": ("google-t5/t5-base", "a9723ea"),
}


def test_every_task_has_a_recipe_of_its_name() -> None:
    assert {entry.name for entry in recipes()} == TASKS
    assert all(entry.task == entry.name for entry in recipes())


def test_recipes_come_in_order_of_name() -> None:
    names = [entry.name for entry in recipes()]
    assert names == sorted(set(names))


@pytest.mark.parametrize("entry", recipes(), ids=lambda entry: entry.name)
def test_a_recipe_is_well_formed(entry: Recipe) -> None:
    assert recipe(entry.name) is entry
    assert re.fullmatch(r"[\w.-]+/[\w.-]+", entry.model)
    assert re.fullmatch(r"[0-9a-f]{7,40}|main", entry.revision)
    assert set(entry.dtypes) <= DTYPES
    assert len(set(entry.dtypes)) == len(entry.dtypes) > 0
    assert entry.summary.endswith(".")


def test_only_what_transformers_does_not_pin_follows_a_branch() -> None:
    assert [entry.name for entry in recipes() if entry.revision == "main"] == ["sentence-similarity"]
    assert recipe("sentence-similarity").reference.startswith("none")


@pytest.mark.parametrize("name", sorted(PINNED_IN_4_57_6))
def test_removed_tasks_quote_transformers_4(name: str) -> None:
    entry = recipe(name)
    assert (entry.model, entry.revision) == PINNED_IN_4_57_6[name]
    assert entry.reference == "transformers 4.57.6"


@pytest.mark.parametrize(
    "name",
    [entry.name for entry in recipes() if entry.reference.startswith("transformers 5.")],
)
def test_current_tasks_quote_the_installed_transformers(name: str) -> None:
    pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from transformers.pipelines import SUPPORTED_TASKS

    entry = recipe(name)
    if entry.reference != f"transformers {transformers.__version__}":
        pytest.skip(f"the recipe quotes {entry.reference}, installed is {transformers.__version__}")
    assert SUPPORTED_TASKS[entry.task]["default"]["model"] == (entry.model, entry.revision)


def test_an_unknown_name_is_answered_with_the_nearest_and_all() -> None:
    with pytest.raises(ValueError, match="did you mean 'summarization'") as caught:
        recipe("summarisation")
    assert all(name in str(caught.value) for name in TASKS)


def test_a_name_like_no_other_gets_no_suggestion() -> None:
    with pytest.raises(ValueError, match="there is no recipe 'zzz'; the recipes are") as caught:
        recipe("zzz")
    assert "did you mean" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("task = ", "not valid TOML"),
        ('task = "fill-mask"', "expected the keys"),
        (
            'task = "x"\nmodel = "a/b"\nrevision = "main"\nreference = "r"\ndtypes = "fp32"\nsummary = "s"',
            "expected dtypes to be a list",
        ),
        (
            'task = "x"\nmodel = 3\nrevision = "main"\nreference = "r"\ndtypes = ["fp32"]\nsummary = "s"',
            "expected model to be a text, got 3",
        ),
    ],
    ids=["syntax", "keys", "dtypes", "type"],
)
def test_a_bad_file_is_named_with_its_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, fault: str
) -> None:
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "bad.toml").write_text(text, encoding="utf-8")
    monkeypatch.setattr(edgepipe_models, "_ROOT", tmp_path)
    recipes.cache_clear()
    try:
        with pytest.raises(ValueError, match=rf"bad\.toml: .*{re.escape(fault)}"):
            recipes()
    finally:
        monkeypatch.undo()
        recipes.cache_clear()


def test_reading_recipes_imports_nothing_heavy_and_nothing_of_ours() -> None:
    code = (
        "import sys, edgepipe_models; edgepipe_models.recipes(); "
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "edgepipe_models" in loaded
    assert not loaded & {"edgepipe", "edgepipe_export", "numpy", "torch", "transformers", "onnxruntime", "tokenizers"}
