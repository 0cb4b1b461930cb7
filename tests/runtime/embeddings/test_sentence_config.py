"""What a sentence-transformers directory says beside its modules."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgepipe.embeddings.sentence_config import read_sentence_config
from edgepipe.errors import BundleError


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
