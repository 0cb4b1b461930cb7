"""docs/reference/processors.md: which variant passes its probes on which processor, and what a request takes there."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any, TypeVar

from edgepipe.text_table import table
from tests.emulation.bundles import COUNTED
from tests.emulation.environment import ENGINE, REPOSITORY, VERSIONS, pinned_versions
from tests.emulation.instructions.instruction_counts import Count, render_counts
from tests.emulation.jobs import Row
from tests.emulation.processors import PROCESSORS

_Entry = TypeVar("_Entry", Row, Count)

PAGE = REPOSITORY / "docs" / "reference" / "processors.md"
RECORD = PAGE.with_suffix(".json")

COMMAND = "python -m tests.emulation --only probes --only instructions --page"
# Variants whose products are of 8 bits.
_INTEGERS = ("int8", "int8-rows", "int8-static")


# How many times as far from fp32 as at the export fp16 is on a Cortex-A76; 5 were seen.
_HALF = 6.0


def is_expected(row: Row) -> bool:
    """Whether something came out that the page explains."""
    if row.passed is not False:
        return True
    processor = PROCESSORS[row.processor]
    if processor.name == "cortex-a76" and row.variant == "fp16" and row.onnxruntime == "1.32.0":
        return (row.from_fp32 or math.inf) <= _HALF * (row.at_export or 0.0)
    return processor.name == "haswell" and row.target == "arm64" and row.variant in _INTEGERS


def write_page(rows: Sequence[Row], counts: Sequence[Count]) -> None:
    """Write the page and its JSON; what is there of other processors, and of the same versions, stays."""
    merged = [[each.to_record() for each in kept] for kept in (merge(rows, read_rows()), merge(counts, read_counts()))]
    record = dict(zip(("command", "rows", "instructions"), (COMMAND, *merged), strict=True))
    RECORD.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(render_page(read_rows(), read_counts()), encoding="utf-8")


def merge(new: Sequence[_Entry], old: Sequence[_Entry]) -> list[_Entry]:
    """What is new, and what is old of other processors or versions that are still ours: by version, then processor."""
    versions = [pinned_versions(name)[ENGINE] for name in VERSIONS]
    renewed = {(each.processor, each.onnxruntime) for each in new}
    kept = [each for each in old if (each.processor, each.onnxruntime) not in renewed and each.onnxruntime in versions]
    places = list(PROCESSORS)
    return sorted([*new, *kept], key=lambda each: (versions.index(each.onnxruntime), places.index(each.processor)))


def read_rows() -> list[Row]:
    """The rows of the page's JSON."""
    names = {field.name for field in fields(Row)}
    return [Row(**{name: value for name, value in row.items() if name in names}) for row in _read_record()["rows"]]


def read_counts() -> list[Count]:
    """The counts of the page's JSON."""
    return [Count(**count) for count in _read_record().get("instructions", ())]


def _read_record() -> Any:
    return json.loads(RECORD.read_text(encoding="utf-8"))


def show_rows(rows: Sequence[Row]) -> str:
    """The rows as a table for a terminal."""
    headers = [
        "processor",
        "onnxruntime",
        "bundle",
        "for",
        "variant",
        "from export",
        "from fp32",
        "at export",
        "result",
    ]
    results = {True: "passed", False: "FAILED", None: "not compared"}
    lines = [
        [row.processor, row.onnxruntime, row.bundle, row.target or "-", row.variant or "-"]
        + [_percent(share) for share in (row.from_export, row.from_fp32, row.at_export)]
        + [results[row.passed]]
        for row in rows
    ]
    return table(headers, lines)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.2g} %"


def render_page(rows: Sequence[Row], counts: Sequence[Count]) -> str:
    """The whole page."""
    versions = list(dict.fromkeys(row.onnxruntime for row in rows))
    parts = [_HEAD.format(command=COMMAND, processors=_describe_processors(), versions=" and ".join(versions))]
    for bundle in dict.fromkeys(row.bundle for row in rows):
        own = [row for row in rows if row.bundle == bundle]
        parts.append(f"## {_TITLES[bundle]}\n\n{_render_table(own, versions)}\n")
    sizes = ", ".join(f"of {kind.sizes_of} ({name})" for name, kind in COUNTED.items())
    engines = " and ".join(dict.fromkeys(count.onnxruntime for count in counts))
    parts += [_TAIL, _COUNTS.format(sizes=sizes, engine=engines, table=render_counts(counts)), _LIMITS]
    return "\n".join(parts)


def _describe_processors() -> str:
    lines = ["| processor | for example in | kernels |", "|---|---|---|"]
    lines += [f"| {each.title} | {each.found_in} | {each.kernels} |" for each in PROCESSORS.values()]
    return "\n".join(lines)


def _render_table(rows: Sequence[Row], versions: Sequence[str]) -> str:
    names = list(PROCESSORS)
    lines = [["variant", "made for", "from fp32 at export", *(each.title for each in PROCESSORS.values())]]
    for variant, target in dict.fromkeys((row.variant, row.target) for row in rows if row.variant):
        own = [row for row in rows if (row.variant, row.target) == (variant, target)]
        cells = [_render_cell([row for row in own if row.processor == name], versions) for name in names]
        lines.append([f"`{variant}`", target or "x86-64", _percent(own[0].at_export), *cells])
    head, *body = (f"| {' | '.join(line)} |" for line in lines)
    return "\n".join([head, "|---" * len(lines[0]) + "|", *body])


def _render_cell(rows: Iterable[Row], versions: Sequence[str]) -> str:
    """How far outputs are with each version, once where that is the same."""
    rows = list(rows)
    if not rows:
        return "not measured"
    by_version = {row.onnxruntime: _render_result(row) for row in rows}
    found = [by_version.get(version, "-") for version in versions]
    return found[0] if len(set(found)) == 1 else " / ".join(found)


def _render_result(row: Row) -> str:
    if row.passed is None:
        return "not compared"
    distance = _percent(row.from_export)
    return distance if row.passed else f"**fails**, {distance}"


_TITLES = {
    "embedded": "The embedded model",
    "encoder": "An encoder",
    "decoder": "A decoder",
    "encoder-decoder": "An encoder and a decoder",
}

_HEAD = """\
# Which variant runs on which processor

Bundles of each kind of graph were made on one machine, and checked with their [probes](probes.md) on other
processors, which qemu emulates. `{command}` makes this page.

{processors}

Versions of onnxruntime: {versions}. A cell says how far a variant's outputs are from what it gave where it was made,
as a share of the size of fp32's outputs: with each version, where they differ. A variant that passes makes the same
token ids and results, and no decision is another by more than rounding. [Probes](probes.md) says how far outputs may
be.
"""

_TAIL = """\
## What fails, and why

- **8-bit products that saturate.** `int8` variants for `arm64` use all 8 bits. A Haswell has no VNNI and adds pairs
  of their products in 16 bits, which overflow. `edgepipe check` says so. With `--target avx2` all of them pass on all
  processors. On the Nehalem, without AVX, nothing overflowed.
- **`fp16` on a Cortex-A76 with onnxruntime 1.32.0** is 2 to 5 times as far from fp32 as where it was made, and fails.
  Among these processors the Cortex-A76 alone has arithmetic in half precision. With 1.24.1 it passes, though it is
  farther from fp32 than elsewhere, too. `fp16` is for GPUs: on a processor take `fp32` or `int8`.

Processors without dot products and AVX2 run other kernels for `w8` and `q4`. Outputs are others there, and as near to
fp32.
"""

_COUNTS = """\
## Instructions a request

Millions of instructions, one thread, onnxruntime {engine}: for the encoder a text of 32 tokens, for the others one
token more behind a short prompt. Tokenizer and Python are in them. Start and load are not: what is counted is the
difference between some requests and more of them in one program. Layers are those of other models: {sizes}.
Vocabularies are small, weights are random. `int8` variants are made for the processor: `arm64` or `avx2`.

{table}

- Processors without dot products and AVX2 have no fast kernels for `w8` and `q4`: there a token of a decoder takes many
  times the instructions of `fp32`. Take `int8` or `fp32` on them, and measure.
- In the encoder `int8` takes the fewest on each of them.

**Instructions are not time.** A processor runs several at once, waits for memory, and needs longer for some than for
others. An instruction of AVX2 has twice as many numbers as one of SSE or NEON. Compare variants on one processor, then
measure with `edgepipe bench` on the device.
"""

_LIMITS = """\
## What this does not show

Weights are random, but for the embedded model. Emulation shows nothing of speed. qemu emulates no AVX-512: the column
`avx512-vnni (native)` is the machine that made the page, without qemu, with the same wheels as the others. Its
instructions are not counted. Where that machine has no AVX-512 VNNI, the column says "not measured". All bundles were
made on an x86-64 with AVX-512 VNNI.
"""
