"""What makes the emulated environments, and the page that they give; those that are here run, too."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.emulation.bundles import COUNTED
from tests.emulation.debian import AptSource, UnavailableError, find_sources
from tests.emulation.environment import BUILD, NEWEST, OLDEST, RUNTIME_PACKAGES, pinned_versions, start_words
from tests.emulation.instructions.instruction_counts import Count
from tests.emulation.jobs import run_in
from tests.emulation.left_out import NOT_EMULATED, SLOW_TESTS, why_not_emulated, why_slow
from tests.emulation.processors import ARCHITECTURES, MACHINES, PROCESSORS
from tests.emulation.processors_page import COMMAND, PAGE, is_expected, merge, read_counts, read_rows, render_page
from tests.emulation.pytest_plugin import find_missing

REPOSITORY = Path(__file__).parents[2]

STANZAS = """\
# A comment
Types: deb deb-src
URIs: http://archive.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/archive.gpg

Types: deb
URIs: http://archive.example/debian-security
Suites: bookworm-security
Components: main

Types: deb
URIs: http://other.example/
Suites: bookworm
Components: main
Enabled: no
"""


def test_sources_are_those_of_this_release(tmp_path: Path) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list.d" / "debian.sources").write_text(STANZAS)
    (tmp_path / "sources.list").write_text(
        "# deb http://off.example/debian bookworm main\n"
        "deb [arch=amd64 signed-by=/a.gpg] http://mirror.example/debian bookworm main\n"
        "deb http://tool.example/apt tool main\n"
    )
    found = find_sources("bookworm", tmp_path)
    assert found == [
        AptSource("http://mirror.example/debian", "signed-by=/a.gpg"),
        AptSource("http://archive.example/debian", "signed-by=/usr/share/keyrings/archive.gpg"),
    ]
    assert found[0].line("trixie") == "deb [signed-by=/a.gpg] http://mirror.example/debian trixie main"
    assert found[0].line("trixie", "deb-src").startswith("deb-src [signed-by=/a.gpg] ")
    assert AptSource("http://x.example", "").line("trixie") == "deb http://x.example trixie main"


def test_another_system_has_no_sources(tmp_path: Path) -> None:
    assert find_sources("bookworm", tmp_path) == []


def test_versions_are_those_that_are_claimed() -> None:
    newest, oldest = pinned_versions(NEWEST), pinned_versions(OLDEST)
    assert newest.keys() == oldest.keys() == set(RUNTIME_PACKAGES)
    assert f"onnxruntime=={newest['onnxruntime']}\n" in (REPOSITORY / "constraints.txt").read_text()
    assert f'"numpy>={oldest["numpy"]}"' in (REPOSITORY / "pyproject.toml").read_text()


def test_a_package_that_is_not_there_is_the_reason() -> None:
    assert find_missing("ModuleNotFoundError: No module named 'no_such_package.part'") == "no_such_package"
    assert find_missing("No module named 'json'") is None
    assert find_missing("AssertionError: 1 == 2") is None


def test_slow_tests_are_tests() -> None:
    for name in SLOW_TESTS:
        assert (REPOSITORY / name.partition("::")[0]).exists(), name
        assert why_slow(name) == SLOW_TESTS[name]
    assert why_slow("tests/runtime/test_numerics.py::test_x") is None


def test_tests_that_are_not_emulated_are_tests() -> None:
    for name in NOT_EMULATED:
        path, _, test = name.partition("::")
        assert f"def {test}(" in (REPOSITORY / path).read_text(encoding="utf-8"), name
        assert why_not_emulated(f"{name}[plain]") == NOT_EMULATED[name]


def test_every_processor_has_an_architecture() -> None:
    assert {each.architecture for each in PROCESSORS.values()} == set(ARCHITECTURES) == set(MACHINES)
    assert all(each.flags for each in PROCESSORS.values() if each.architecture == "amd64")


def test_what_is_not_emulated_is_called_native() -> None:
    assert [each.title for each in PROCESSORS.values() if not each.emulated] == ["avx512-vnni (native)"]
    assert PROCESSORS["haswell"].title == "haswell"


def test_a_processor_that_is_neither_emulated_nor_here_is_named() -> None:
    with pytest.raises(UnavailableError, match="qemu does not emulate it, and this machine has no sme"):
        start_words(replace(PROCESSORS["avx512-vnni"], flags=("sme",), architecture="amd64"))


def test_the_page_is_what_its_figures_give() -> None:
    rows, counts = read_rows(), read_counts()
    assert PAGE.read_text(encoding="utf-8") == render_page(rows, counts), f"{COMMAND} writes it"
    emulated = {each.name for each in PROCESSORS.values() if each.emulated}
    assert emulated <= {row.processor for row in rows} <= set(PROCESSORS)
    variants = {(kind, dtype) for kind, entry in COUNTED.items() for dtype in entry.dtypes}
    assert {(each.processor, each.bundle, each.variant) for each in counts} == {
        (name, *variant) for name in emulated for variant in variants
    }
    assert all(is_expected(row) for row in rows)
    assert {row.onnxruntime for row in rows} == {pinned_versions(name)["onnxruntime"] for name in (NEWEST, OLDEST)}


def test_a_processor_is_renewed_and_the_others_stay() -> None:
    newest, oldest = (pinned_versions(name)["onnxruntime"] for name in (NEWEST, OLDEST))
    old = [
        Count(name, version, "encoder", "int8", 1)
        for name in ("cortex-a53", "haswell", "nehalem")
        for version in (oldest, newest, "0.9")
    ]
    new = [Count("haswell", newest, "encoder", dtype, 2) for dtype in ("int8", "q4")]
    assert [(each.processor, each.onnxruntime, each.instructions) for each in merge(new, old)] == [
        *[("cortex-a53", newest, 1), ("haswell", newest, 2), ("haswell", newest, 2), ("nehalem", newest, 1)],
        *[(name, oldest, 1) for name in ("cortex-a53", "haswell", "nehalem")],
    ]


def emulated(name: str) -> Path:
    """The interpreter of a processor, if there is one on this machine."""
    python = BUILD / PROCESSORS[name].architecture / name / NEWEST / "bin" / "python"
    if not python.is_file():
        pytest.skip("no emulated processor is here: make test-arm64 and make test-x86 make them")
    return python


def test_a_processor_is_what_it_is_called() -> None:
    program = (
        "from edgepipe.backend.machine import kernel_flags, processor_name; print(processor_name(), *kernel_flags())"
    )
    assert run_in(emulated("nehalem"), ["-c", program]).stdout.split() == ["Nehalem", "(emulated)", "sse4_1"]
    assert "asimddp" not in run_in(emulated("cortex-a72"), ["-c", program]).stdout
    assert "asimddp" in run_in(emulated("cortex-a76"), ["-c", program]).stdout


def test_a_child_is_of_the_same_processor() -> None:
    program = "import platform, subprocess, sys; print(platform.machine(), flush=True); subprocess.run(sys.argv[1:])"
    inner = "import platform, sys; print(platform.machine(), sys.executable)"
    python = emulated("cortex-a72")
    done = run_in(python, ["-c", program, str(python), "-c", inner])
    assert done.stdout.splitlines() == ["aarch64", f"aarch64 {python}"]
