"""What exported tiny models write, token for token beside ``transformers.generate``.

``pytest -m coverage`` exports every family, as ``make coverage`` does for the documentation.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgepipe import Bundle
from edgepipe.errors import ExportError
from tests.tiny.generation import compare_tokens, export_generative, largest_difference
from tests.tiny.generative import FAMILIES, REFUSED

# The most used, and one with groups of heads, windows and rotations.
COMMON = ("gpt2", "gemma3_text", "bart", "t5")


def check(model: Any, tokenizer: Any, bundle: Bundle) -> None:
    assert largest_difference(model, tokenizer, bundle) < 1e-3
    tokens = compare_tokens(model, tokenizer, bundle)
    assert tokens.failures == ()
    assert tokens.compared == 16


@pytest.mark.parametrize("family", COMMON)
def test_greedy_and_beam_search_write_the_same_tokens(
    family: str, writer: Callable[[str], tuple[Any, Any, Bundle]]
) -> None:
    check(*writer(family))


@pytest.mark.coverage
@pytest.mark.parametrize("family", [family for family in FAMILIES if family not in (*COMMON, *REFUSED)])
def test_every_other_family(family: str, tmp_path: Path) -> None:
    check(*export_generative(family, tmp_path))


@pytest.mark.parametrize("family", REFUSED)
def test_what_cannot_write_exactly_is_refused(family: str, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="cannot be exported exactly"):
        export_generative(family, tmp_path)
