"""A tiny bundle for each task."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgepipe_export import export
from tests.runtime.small_bundle import rewrite_manifest
from tests.tiny import build
from tests.tiny.generative import ENCODER_DECODERS, build_generative

ENTITIES = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
ENTAILMENT = ("contradiction", "neutral", "entailment")
PROMPTS = {"query": "find this: ", "document": "read this: "}


class TinyBundles(Mapping[str, Path]):
    """All bundles, each made when it is first asked for; their directories by their names."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: dict[str, Path] = {}

    def __getitem__(self, name: str) -> Path:
        if name not in self._made:
            self._made[name] = _MAKERS[name](self, self._folder / name)
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(_MAKERS)

    def __len__(self) -> int:
        return len(_MAKERS)


def make_encoder(folder: Path, task: str, **options: Any) -> Path:
    """Export a tiny BERT with a task's head."""
    model, tokenizer = build("bert", task=task, **options)
    return Path(export(model, folder, task=task, tokenizer=tokenizer, verify=False, progress=False).path)


def make_variants(folder: Path, dtypes: Sequence[str]) -> Path:
    """Export a tiny classifier in several variants, wide enough that they differ and gentle enough that all work."""
    model, tokenizer = build("bert", labels=("bad", "good"), hidden_size=64, gain=1.0)
    return Path(export(model, folder, tokenizer=tokenizer, dtypes=dtypes, verify=False, max_drop=1.0).path)


def make_writer(folder: Path, family: str) -> Path:
    """Export a tiny model that writes text."""
    model, tokenizer = build_generative(family)
    task = "text2text-generation" if family in ENCODER_DECODERS else "text-generation"
    return Path(export(model, folder, task=task, tokenizer=tokenizer, verify=False, progress=False).path)


def make_sentence_encoder(encoder: Path, folder: Path) -> Path:
    """An encoder that says how a text becomes a vector, with prompts, as sentence-transformers has them."""
    shutil.copytree(encoder, folder)
    pooling = {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True}
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "config_sentence_transformers.json").write_text(json.dumps({"prompts": PROMPTS}))
    return folder


def copy_for_task(bundle: Path, folder: Path, task: str) -> Path:
    """The same graphs for another task."""
    shutil.copytree(bundle, folder)
    record = json.loads((folder / "edgepipe.json").read_text(encoding="utf-8"))
    rewrite_manifest(folder, {**record, "task": task})
    return folder


# What makes each bundle, from the others and its folder.
_MAKERS: dict[str, Callable[[TinyBundles, Path], Path]] = {
    "mood": lambda _, folder: make_encoder(folder, "text-classification", labels=("bad", "fair", "good")),
    "reranker": lambda _, folder: make_encoder(folder, "text-classification", num_labels=1),
    "hidden": lambda _, folder: make_encoder(folder, "feature-extraction"),
    "entities": lambda _, folder: make_encoder(
        folder, "token-classification", num_labels=len(ENTITIES), labels=ENTITIES
    ),
    "answers": lambda _, folder: make_encoder(folder, "question-answering"),
    "masks": lambda _, folder: make_encoder(folder, "fill-mask"),
    "zero": lambda _, folder: make_encoder(folder, "zero-shot-classification", labels=ENTAILMENT),
    "stories": lambda _, folder: make_writer(folder, "gpt2"),
    "rewrites": lambda _, folder: make_writer(folder, "bart"),
    "sentences": lambda made, folder: make_sentence_encoder(made["hidden"], folder),
    "summaries": lambda made, folder: copy_for_task(made["rewrites"], folder, "summarization"),
    "translations": lambda made, folder: copy_for_task(made["rewrites"], folder, "translation"),
}
