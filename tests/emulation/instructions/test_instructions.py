"""What is made of the counts; and the qemu that counts, where it has been built."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from textwrap import dedent

import pytest

from tests.emulation.bundles import COUNTED
from tests.emulation.environment import BUILD, program_of, start_words
from tests.emulation.instructions.count_requests import MARK, REQUESTS, read_counts
from tests.emulation.instructions.counting_emulator import FOLDER, PLUGIN_SOURCE, make_counting_emulator
from tests.emulation.instructions.instruction_counts import Count, render_counts
from tests.emulation.jobs import run_words
from tests.emulation.processors import PROCESSORS
from tests.tiny import build
from tests.tiny.generative import build_generative


def test_the_plug_in_waits_for_the_same_mark() -> None:
    assert f"MARK = {MARK};" in PLUGIN_SOURCE.read_text(encoding="utf-8")


def test_every_kind_has_requests() -> None:
    assert REQUESTS.keys() == COUNTED.keys()


@pytest.mark.parametrize("kind", COUNTED)
def test_models_have_the_sizes_that_are_asked_for(kind: str) -> None:
    """Families have names of their own for what ``tests.tiny`` sets under general ones, which go before."""
    entry = COUNTED[kind]
    build_model = build if entry.family == "bert" else build_generative
    model, _ = build_model(entry.family, **entry.config)
    assert {name: getattr(model.config, name) for name in entry.config} == entry.config


def test_a_request_is_a_share_of_what_was_counted() -> None:
    assert REQUESTS["encoder"] == 2
    assert read_counts("encoder", [1000, 1200, 5000, 5010]) == [100, 5]


def test_a_token_is_what_more_tokens_take_beyond_one() -> None:
    assert REQUESTS["decoder"] == 4
    assert read_counts("decoder", [0, 100, 1000, 1500, 2000, 2001, 3000, 3041]) == [100, 10]


def test_a_mark_that_is_missing_is_an_error() -> None:
    with pytest.raises(ValueError, match="zip"):
        read_counts("encoder", [1, 2, 3])


def test_the_table_has_millions() -> None:
    counts = [
        Count("cortex-a53", "1.32.0", "encoder", "int8", 55_349_123),
        Count("haswell", "1.32.0", "encoder", "fp32", 126_000_000),
    ]
    assert render_counts(counts).splitlines() == [
        "| graph | variant | cortex-a53 | haswell |",
        "|---|---|---|---|",
        "| encoder | `int8` | 55.3 | - |",
        "| encoder | `fp32` | - | 126 |",
    ]
    assert counts[0].to_record()["instructions"] == 55_300_000


@pytest.mark.parametrize("name", ["cortex-a72", "nehalem"])
def test_twice_the_work_is_twice_the_instructions(name: str, tmp_path: Path) -> None:
    processor = PROCESSORS[name]
    python = BUILD / processor.architecture / name / "newest" / "bin" / "python"
    if not (FOLDER / "count.so").is_file() or not python.is_file():
        pytest.skip("no qemu that counts is here: python -m tests.emulation --only instructions makes it")
    emulator, plugin = make_counting_emulator(processor.architecture)
    program = """
        from tests.emulation.instructions.count_requests import mark
        for count in (0, 200, 400):
            mark()
            sum(range(1000 * count))
        mark()
    """
    log = tmp_path / "counts.txt"
    words = start_words(processor)
    words[:1] = [str(emulator), "-plugin", str(plugin), "-d", "plugin", "-D", str(log)]
    done = run_words([*words, str(python), str(program_of(processor)), "-c", dedent(program)])
    assert done.returncode == 0, done.stderr
    marks = [int(line) for line in log.read_text(encoding="utf-8").split()]
    nothing, once, twice = (after - before for before, after in pairwise(marks))
    assert twice - nothing == pytest.approx(2 * (once - nothing), rel=0.01)
