from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from edgepipe import Bundle
from edgepipe_export import export
from tests.tiny import build
from tests.tiny.generation import export_generative


@pytest.fixture(scope="package", autouse=True)
def single_threaded() -> Iterator[None]:
    """Tiny models gain nothing from threads, and threads that spin while they wait cost much on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edgepipe.backend.onnxruntime.inference_session.threads_of_worker", lambda workers: 1)
        yield
    torch.set_num_threads(before)


@pytest.fixture(scope="package")
def checkpoint(single_threaded: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT with random weights, saved as transformers saves it."""
    path = tmp_path_factory.mktemp("checkpoints") / "tiny-bert"
    build("bert", directory=path, labels=("bad", "fair", "good"))
    return path


@pytest.fixture(scope="package")
def exported(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Its bundle, fp32 and int8, verified; not to be changed."""
    # Random weights leave close scores, which 8 bits can swap.
    return export(checkpoint, tmp_path_factory.mktemp("bundles") / "tiny-bert", dtypes=("fp32", "int8"), max_drop=20)


@pytest.fixture(scope="package")
def writer(single_threaded: None, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Any, Any, Bundle]]:
    """``writer(family)``: a tiny model that generates, its tokenizer and its bundle, made once; not to be changed."""
    made: dict[str, tuple[Any, Any, Bundle]] = {}

    def make(family: str) -> tuple[Any, Any, Bundle]:
        if family not in made:
            made[family] = export_generative(family, tmp_path_factory.mktemp(family))
        return made[family]

    return make


@pytest.fixture
def copied(exported: Bundle, tmp_path: Path) -> Path:
    """A copy of the bundle, to be changed."""
    return Path(shutil.copytree(exported.path, tmp_path / "copied"))


@pytest.fixture
def own_checkpoint(checkpoint: Path, tmp_path: Path) -> Path:
    """A copy of the checkpoint, to be changed."""
    return Path(shutil.copytree(checkpoint, tmp_path / "own-checkpoint"))
