"""The tokenizers under test and their counterparts in transformers."""

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgepipe.tokenization.tokenizer import Tokenizer

os.environ.setdefault("HF_HUB_OFFLINE", "1")

DATA = Path(__file__).parents[2] / "data" / "tokenizers"


@functools.cache
def _ours(family: str) -> Tokenizer:
    return Tokenizer.from_pretrained(DATA / family)


@functools.cache
def _reference(family: str) -> Any:
    transformers = pytest.importorskip("transformers")
    return transformers.AutoTokenizer.from_pretrained(DATA / family)


@pytest.fixture(scope="session")
def data() -> Path:
    return DATA


@pytest.fixture(scope="session")
def both() -> Callable[[str], tuple[Tokenizer, Any]]:
    """Our tokenizer of a family, and the one of transformers."""
    return lambda family: (_ours(family), _reference(family))


@pytest.fixture(params=sorted(path.name for path in DATA.iterdir()))
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def ours(family: str) -> Tokenizer:
    return _ours(family)


@pytest.fixture
def reference(family: str) -> Any:
    return _reference(family)


@pytest.fixture
def bert() -> Tokenizer:
    return _ours("bert")


@pytest.fixture
def gpt2() -> Tokenizer:
    return _ours("gpt2")
