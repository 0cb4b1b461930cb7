"""The processor in words, from what Linux says of several."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import pytest

from edgepipe.backend import machine
from tests.runtime.processes import run_python

INTEL = (
    "processor\t: 0\nmodel name\t: A Processor @ 2.0: GHz\nflags\t\t: fpu avx2 {more}\n\nprocessor\t: 1\nflags\t: mmx\n"
)
ARM = "processor\t: 0\nFeatures\t: fp asimd\n"


@pytest.fixture
def cpuinfo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "cpuinfo"
    monkeypatch.setattr(machine, "_CPUINFO", path)
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(platform, "processor", lambda: "")
    return path


def test_the_name_has_processor_threads_and_system(cpuinfo: Path) -> None:
    cpuinfo.write_text(INTEL.format(more=""))
    assert machine.machine_name(1) == "A Processor @ 2.0: GHz, 1 thread, Linux x86_64"
    assert machine.machine_name(2) == "A Processor @ 2.0: GHz, 2 threads, Linux x86_64"


@pytest.mark.parametrize("content", [None, "", ARM, "model name\t:\n"])
def test_a_processor_without_a_name_is_called_by_its_kind(cpuinfo: Path, content: str | None) -> None:
    if content is not None:
        cpuinfo.write_text(content)
    assert machine.machine_name(2) == "x86_64, 2 threads, Linux x86_64"


def test_flags_are_those_of_the_first_processor(cpuinfo: Path) -> None:
    assert machine.cpu_flags() == frozenset()
    cpuinfo.write_text(INTEL.format(more="avx512_vnni"))
    assert machine.cpu_flags() == {"fpu", "avx2", "avx512_vnni"}
    cpuinfo.write_text(ARM)
    assert machine.cpu_flags() == {"fp", "asimd"}
    cpuinfo.write_bytes(b"flags : avx2 \xff\n")
    assert "avx2" in machine.cpu_flags()


@pytest.mark.parametrize(
    ("kind", "content", "expected"),
    [
        ("x86_64", INTEL.format(more=""), True),
        ("AMD64", INTEL.format(more=""), True),
        ("x86_64", INTEL.format(more="avx_vnni"), False),
        ("x86_64", "", False),
        ("aarch64", ARM, False),
    ],
)
def test_sums_overflow_on_x86_without_vnni(
    kind: str, content: str, expected: bool, cpuinfo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpuinfo.write_text(content)
    monkeypatch.setattr(platform, "machine", lambda: kind)
    assert machine.saturates() is expected


def test_a_package_that_is_not_installed_has_no_version() -> None:
    found = machine.runtime_versions()
    assert found["python"] == platform.python_version()
    assert {"edgepipe", "tokenizers", "numpy"} <= found.keys()
    assert all(found.values())
    assert len({"onnxruntime", "onnxruntime-gpu"} & found.keys()) == 1


def test_flags_that_kernels_use_are_told_of(cpuinfo: Path) -> None:
    assert machine.kernel_flags() == ()
    cpuinfo.write_text(INTEL.format(more="avx512_vnni mmx"))
    assert machine.kernel_flags() == ("avx2", "avx512_vnni")
    cpuinfo.write_text("Features\t: fp asimd asimddp i8mm crc32\n")
    assert machine.kernel_flags() == ("asimd", "asimddp", "i8mm")


def test_vnni_is_among_the_flags_that_are_told_of() -> None:
    assert set(machine.KERNEL_FLAGS) >= machine.VNNI_FLAGS
    assert len(set(machine.KERNEL_FLAGS)) == len(machine.KERNEL_FLAGS)


def test_memory_is_what_linux_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "meminfo"
    monkeypatch.setattr(machine, "_MEMINFO", path)
    path.write_text("MemTotal:       2048 kB\nMemFree:  1 kB\nMemAvailable:   1024 kB\nHugePages_Total:       0\nodd\n")
    found = machine.memory_size()
    assert (found.total, found.available) == (2048 * 1024, 1024 * 1024)
    path.unlink()
    elsewhere = machine.memory_size()
    assert elsewhere.available is None
    assert elsewhere.total is None or elsewhere.total > 2**20


def test_what_bounds_memory_here() -> None:
    (found, *_) = [bound for bound in machine.memory_bounds() if bound.name == "this machine"]
    assert 0 < found.left <= found.most
    assert not found.counts_mapped


@pytest.mark.skipif(sys.platform != "linux", reason="the sizes of a process are read from /proc")
def test_limits_of_the_process_bound_its_addresses() -> None:
    program = """
        import resource
        from edgepipe.backend.machine import memory_bounds
        print(len(memory_bounds()))
        resource.setrlimit(resource.RLIMIT_AS, (2**33, 2**33))
        resource.setrlimit(resource.RLIMIT_DATA, (2**32, 2**32))
        for bound in memory_bounds()[-2:]:
            print(bound.most, bound.counts_mapped, bound.name)
    """
    before, addresses, data = run_python(program).splitlines()
    assert int(before) >= 1
    for line, limit, name in ((addresses, 2**33, "ulimit -v"), (data, 2**32, "ulimit -d")):
        most, counts_mapped, said = line.split(" ", 2)
        assert 0.8 * limit < int(most) < limit
        assert counts_mapped == "True"
        assert name in said


def test_a_board_is_called_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model"
    monkeypatch.setattr(machine, "_BOARD", path)
    assert machine.board_name() is None
    path.write_bytes(b"Raspberry Pi 5 Model B Rev 1.0\0")
    assert machine.board_name() == "Raspberry Pi 5 Model B Rev 1.0"


def test_versions_of_packages_that_are_there() -> None:
    assert machine.package_versions(["numpy", "no-such-package"]).keys() == {"numpy"}


@pytest.mark.parametrize(
    ("architecture", "flags", "kind"),
    [
        ("x86_64", "sse4_1", machine.X86),
        ("x86_64", "sse4_1 avx2 avx512f", machine.AVX2),
        ("AMD64", "avx2 avx_vnni", machine.VNNI),
        ("aarch64", "asimd", machine.ARM64),
        ("arm64", "asimd asimddp", machine.ARM64_DOT),
        ("x86_64", "", None),
        ("armv7l", "neon", None),
        ("i686", "sse2", None),
    ],
)
def test_kinds_of_processors(architecture: str, flags: str, kind: str | None) -> None:
    assert machine.Processor(architecture, frozenset(flags.split())).kind == kind


def test_this_processor(cpuinfo: Path) -> None:
    cpuinfo.write_text(INTEL.format(more=""))
    assert machine.this_processor() == machine.Processor("x86_64", frozenset({"fpu", "avx2"}))
