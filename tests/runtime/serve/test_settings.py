"""Names of bundles that are served."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgepipe.errors import InputError
from edgepipe.serve.settings import ServedBundle, name_bundles


def test_a_name_is_given_or_that_of_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    found = name_bundles(("a=b/c", "b/c", "./x=y", "org/name", ".", "odd=a=b"))
    assert found == (
        ServedBundle("a", "b/c"),
        ServedBundle("c", "b/c"),
        ServedBundle("x=y", "./x=y"),
        ServedBundle("name", "org/name"),
        ServedBundle(tmp_path.name, "."),
        ServedBundle("odd", "a=b"),
    )


def test_a_name_is_there_once() -> None:
    with pytest.raises(InputError, match=r"two bundles are called 'c'.*other=d/c"):
        name_bundles(("b/c", "d/c"))
