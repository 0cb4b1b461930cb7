"""What the kernel counts, in bytes."""

import sys
from pathlib import Path

import pytest

from edgepipe.benchmarking import memory
from edgepipe.benchmarking.memory import read_memory


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_is_in_bytes() -> None:
    found = read_memory()
    peak, anonymous, resident = (found[name] for name in ("peak_bytes", "anonymous_bytes", "resident_bytes"))
    assert peak is not None
    assert anonymous is not None
    assert resident is not None
    assert 1e7 < anonymous < resident <= peak


def test_what_the_kernel_does_not_tell_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    status = tmp_path / "status"
    monkeypatch.setattr(memory, "_STATUS", status)
    status.write_text("Name:\ta b\nEmpty:\nVmHWM:\t    2048 kB\nVmRSS:\t1 kB\n")
    assert read_memory() == {"peak_bytes": 2048 * 1024, "anonymous_bytes": None, "resident_bytes": 1024}


def test_without_proc_the_peak_is_the_systems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_STATUS", tmp_path / "nothing")
    found = read_memory()
    peak = found.pop("peak_bytes")
    assert found == {"anonymous_bytes": None, "resident_bytes": None}
    if sys.platform == "linux":
        assert peak is not None
        assert 1e7 < peak < 1e12, "not in kilobytes"
