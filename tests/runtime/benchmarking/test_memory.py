"""What the kernel counts, in bytes."""

import sys

import pytest

from edgepipe.benchmarking.memory import read_memory


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_is_in_bytes() -> None:
    found = read_memory()
    peak, anonymous, resident = (found[name] for name in ("peak_bytes", "anonymous_bytes", "resident_bytes"))
    assert peak is not None
    assert anonymous is not None
    assert resident is not None
    assert 1e7 < anonymous < resident <= peak
