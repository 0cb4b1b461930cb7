from __future__ import annotations

from pathlib import Path

import pytest

from edgepipe.errors import CheckpointError
from edgepipe_export.checkpoint.formats.loading_errors import describe_error, list_some, read_object


def test_errors_are_named_once() -> None:
    assert describe_error(ValueError("first\nsecond")) == "ValueError: first"
    assert describe_error(ValueError()) == "ValueError"


def test_some_names() -> None:
    assert list_some("ab") == "a, b"
    assert list_some("abcd") == "a, b, c, …"


def test_files_that_are_no_objects(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    for content, message in (("{", "cannot be read as JSON"), ("[]", "holds a list, not an object")):
        path.write_text(content)
        with pytest.raises(CheckpointError, match=message):
            read_object(path)
    path.write_text('{"a": 1}')
    assert read_object(path) == {"a": 1}
