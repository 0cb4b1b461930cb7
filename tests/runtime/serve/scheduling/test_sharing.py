"""What may share a batch is found by trying, whatever the variant is called."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgepipe import pipeline
from edgepipe.serve.scheduling.sharing import Sharing, measure_sharing
from edgepipe_export import export
from tests.runtime.tiny_bundles import make_variants
from tests.tiny import build

SHARED = {"fp32": True, "w8": True, "int8": False}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_variants(tmp_path_factory.mktemp("made") / "bundle", tuple(SHARED))


@pytest.mark.parametrize("dtype", SHARED)
def test_variants(folder: Path, dtype: str) -> None:
    with pipeline(model=folder, dtype=dtype, verify="never") as task:
        found = measure_sharing(task, None)
    assert (bool(found.rows), found.pads) == (SHARED[dtype], SHARED[dtype])
    assert found.side_by_side == 1
    assert ("of one input each" in found.describe()) is (not found.rows or max(found.rows.values()) == 1)


def test_a_model_that_reads_padding_shares_among_equal_lengths(tmp_path: Path) -> None:
    build("convbert", directory=tmp_path / "tiny", labels=("bad", "good"))
    export(tmp_path / "tiny", tmp_path / "bundle", dtypes=("fp32",), verify=False)
    with pipeline(model=tmp_path / "bundle", verify="never") as task:
        found = measure_sharing(task, None)
    assert (bool(found.rows), found.pads) == (True, False)
    assert found.may_share(8, 8)
    assert not found.may_share(8, 9)


def test_rows_and_lengths() -> None:
    sharing = Sharing({16: 8, 64: 4}, pads=True, side_by_side=2)
    assert [sharing.count_rows(length) for length in (1, 16, 17, 64, 65)] == [8, 8, 4, 4, 1]
    assert [sharing.may_share(12, length) for length in (8, 9, 12, 16, 17)] == [False, True, True, True, False]
    assert (
        sharing.describe() == "2 batches side by side: 8 of up to 16 tokens, 4 of up to 64 tokens; lengths may differ"
    )
    assert Sharing().count_rows(5) == 1
