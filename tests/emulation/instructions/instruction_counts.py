"""How many instructions a request takes on each processor, by variant; :mod:`.count_requests` says what is counted."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgepipe.text_table import table
from tests.emulation.bundles import COUNTED, SAME_EVERYWHERE
from tests.emulation.environment import ENGINE, pinned_versions, program_of, say, start_words
from tests.emulation.instructions.count_requests import read_counts
from tests.emulation.instructions.counting_emulator import make_counting_emulator
from tests.emulation.jobs import explain, run_words
from tests.emulation.processors import PROCESSORS, Processor

# What 8-bit variants of each architecture are made for.
TARGET_OF = {"arm64": "arm64", "amd64": "avx2"}


@dataclass(frozen=True, slots=True)
class Count:
    """Instructions of a request.

    Attributes:
        processor: A name of :data:`~tests.emulation.processors.PROCESSORS`.
        onnxruntime: The version.
        bundle: The kind of graph.
        variant: Its dtype.
        instructions: Of a request of an encoder, or of a token of the others.
    """

    processor: str
    onnxruntime: str
    bundle: str
    variant: str
    instructions: int

    def to_record(self) -> dict[str, Any]:
        """As JSON can hold it, numbers with three digits: more differ from run to run."""
        return asdict(self) | {"instructions": int(float(f"{self.instructions:.3g}"))}


def count_instructions(
    processor: Processor, versions: str, python: Path, bundles: Mapping[tuple[str, str], Path]
) -> list[Count]:
    """Count those of each variant of the bundles.

    Args:
        processor: An emulated one.
        versions: Of packages.
        python: Its interpreter.
        bundles: By kind of graph and target.

    Raises:
        UnavailableError: a qemu that counts cannot be had.
        RuntimeError: a request fails; the message says why.
    """
    emulator, plugin = make_counting_emulator(processor.architecture)
    engine = pinned_versions(versions)[ENGINE]
    found = []
    for kind, variants in _group_variants(processor, bundles).items():
        say(f"Counting instructions: {processor.name}, {kind}.")
        with tempfile.TemporaryDirectory(prefix="edgepipe-counted-") as folder:
            log = Path(folder) / "counts.txt"
            words = start_words(processor)
            words[:1] = [str(emulator), "-plugin", str(plugin), "-d", "plugin", "-D", str(log)]
            program = ["-m", "tests.emulation.instructions.count_requests", kind]
            asked = [word for path, dtype in variants for word in (str(path), dtype)]
            # Hashes decide in which order things are done.
            done = run_words(
                [*words, str(python), str(program_of(processor)), *program, *asked], {"PYTHONHASHSEED": "0"}
            )
            if done.returncode != 0:
                raise RuntimeError(f"{processor.name}, {kind}: {explain(done)}")
            counts = read_counts(kind, [int(line) for line in log.read_text(encoding="utf-8").split()])
        found += [
            Count(processor.name, engine, kind, dtype, count)
            for (_, dtype), count in zip(variants, counts, strict=True)
        ]
    return found


def _group_variants(processor: Processor, bundles: Mapping[tuple[str, str], Path]) -> dict[str, list[tuple[Path, str]]]:
    """The folder and the dtype of each variant, by kind: 8-bit ones as they are made for the processor."""
    own = TARGET_OF[processor.architecture]
    first = next(iter(bundles))[1]
    return {
        kind: [(bundles[kind, first if dtype in SAME_EVERYWHERE else own], dtype) for dtype in entry.dtypes]
        for kind, entry in COUNTED.items()
    }


def show_counts(counts: Sequence[Count]) -> str:
    """The counts as a table for a terminal."""
    headers = ["bundle", "variant", *dict.fromkeys(count.processor for count in counts)]
    return table(headers, _lay_out(counts))


def render_counts(counts: Sequence[Count]) -> str:
    """The section of the page: a table with a row a variant, a column a processor."""
    names = [PROCESSORS[name].title for name in dict.fromkeys(count.processor for count in counts)]
    lines = [[kind, f"`{variant}`", *cells] for kind, variant, *cells in _lay_out(counts)]
    rows = [["graph", "variant", *names], *lines]
    head, *body = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join([head, "|---" * len(rows[0]) + "|", *body])


def _lay_out(counts: Sequence[Count]) -> list[list[str]]:
    found = {(each.bundle, each.variant, each.processor): each.instructions for each in counts}
    processors = list(dict.fromkeys(count.processor for count in counts))
    return [
        [kind, variant, *(_millions(found.get((kind, variant, name))) for name in processors)]
        for kind, variant in dict.fromkeys((count.bundle, count.variant) for count in counts)
    ]


def _millions(count: int | None) -> str:
    return "-" if count is None else f"{float(f'{count / 1e6:.3g}'):g}"
