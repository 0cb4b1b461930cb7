"""``python -m tests.emulation``: the runtime on other processors; what cannot be had is named, and left out."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.emulation.bundles import COUNTED, TARGETS, make_bundles
from tests.emulation.debian import UnavailableError
from tests.emulation.environment import BUILD, NEWEST, VERSIONS, make_python
from tests.emulation.instructions.instruction_counts import Count, count_instructions, show_counts
from tests.emulation.jobs import Row, check_variants, run_tests
from tests.emulation.processors import ARCHITECTURES, PROCESSORS, Processor
from tests.emulation.processors_page import is_expected, show_rows, write_page

# What a quick run takes, for CI: the probes of one processor without dot products and of one with them, and of bundles
# for ARM; some tests on the second.
QUICK = ("cortex-a53", "cortex-a76")
QUICK_TARGETS = ("arm64",)
QUICK_TESTED = ("cortex-a76",)
QUICK_TESTS = ("tests/runtime/checking", "tests/runtime/models/test_encoder.py")
# The versions that the tests run with, and that instructions are counted with; probes are checked with both.
TESTED_VERSIONS = (NEWEST,)
# What is not emulated; a machine may lack it.
NATIVE = tuple(each.name for each in PROCESSORS.values() if not each.emulated)

PROBES, TESTS, INSTRUCTIONS = PARTS = ("probes", "tests", "instructions")
# Counting builds a qemu of its own, once.
DEFAULT_PARTS = (PROBES, TESTS)


def main() -> int:
    """Run what is asked for; the exit status says whether anything is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.emulation", description=__doc__)
    parser.add_argument("--processor", action="append", choices=PROCESSORS, help="by default all")
    parser.add_argument("--architecture", choices=ARCHITECTURES, help="all processors of one architecture")
    parser.add_argument("--versions", action="append", choices=VERSIONS, help="of packages; by default both")
    parser.add_argument("--only", action="append", choices=PARTS, help="by default probes and tests")
    parser.add_argument("--tests", action="append", help="a file or folder of tests; by default tests/runtime")
    parser.add_argument("--whole", action="store_true", help="the tests that are slow under emulation, too")
    parser.add_argument("--quick", action="store_true", help="two processors of ARM, and some tests")
    parser.add_argument("--page", action="store_true", help="write these processors into docs/reference/processors.md")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="how many run side by side")
    asked = parser.parse_args()
    began = time.monotonic()
    names = asked.processor or (QUICK if asked.quick else tuple(PROCESSORS))
    processors = [PROCESSORS[name] for name in names if asked.architecture in (None, PROCESSORS[name].architecture)]
    versions = tuple(asked.versions or ((NEWEST,) if asked.quick else VERSIONS))
    parts = tuple(asked.only or DEFAULT_PARTS)
    tests = tuple(asked.tests or (QUICK_TESTS if asked.quick else ("tests/runtime",)))
    pythons, absent = make_pythons(processors, versions)
    if not pythons:
        return report([], {}, [], absent, began)
    with ThreadPoolExecutor(asked.jobs) as pool:
        running = []
        if TESTS in parts:  # they take longest
            running = [
                (key, pool.submit(run_tests, PROCESSORS[key[0]], python, tests, whole=asked.whole))
                for key, python in pythons.items()
                if key[1] in (asked.versions or TESTED_VERSIONS)
                and (not asked.quick or key[0] in (asked.processor or QUICK_TESTED))
            ]
        bundles = make_bundles(targets=QUICK_TARGETS if asked.quick else TARGETS) if PROBES in parts else {}
        checking = [
            pool.submit(check_variants, PROCESSORS[name], which, python, bundles)
            for (name, which), python in pythons.items()
            if PROBES in parts
        ]
        rows = [row for each in checking for row in each.result()]
        tested = {key: each.result() for key, each in running}
    counts = count_all(pythons, absent) if INSTRUCTIONS in parts else []
    # What is this machine's own may be missing; the page says so.
    if asked.page and not [each for each in absent if not each.startswith(NATIVE)]:
        write_page(rows, counts)
    return report(rows, tested, counts, absent, began)


def count_all(pythons: Mapping[tuple[str, str], Path], absent: list[str]) -> list[Count]:
    """The instructions of requests on each emulated processor; what cannot be had is added to `absent`."""
    bundles = make_bundles(COUNTED, BUILD / "counted-bundles")
    found = []
    for (name, which), python in pythons.items():
        if PROCESSORS[name].emulated and which in TESTED_VERSIONS:
            try:
                found += count_instructions(PROCESSORS[name], which, python, bundles)
            except UnavailableError as error:
                absent.append(f"{name}, instructions: {error}")
    return found


def make_pythons(
    processors: Sequence[Processor], versions: Sequence[str]
) -> tuple[dict[tuple[str, str], Path], list[str]]:
    """The interpreters by processor and versions, and what cannot be had."""
    pythons, absent = {}, []
    for which in versions:
        for processor in processors:
            try:
                pythons[processor.name, which] = make_python(processor, which)
            except UnavailableError as error:
                absent.append(f"{processor.name}, {which} versions: {error}")
    return pythons, absent


def report(
    rows: Sequence[Row],
    tested: Mapping[tuple[str, str], dict[str, Any]],
    counts: Sequence[Count],
    absent: Sequence[str],
    began: float,
) -> int:
    """Write what came out; the exit status."""
    if rows:
        print(show_rows(rows))
    if counts:
        print(f"Millions of instructions:\n{show_counts(counts)}")
    wrong = [row for row in rows if not is_expected(row)]
    for row in wrong:
        print(f"WRONG: {row.processor}, {row.onnxruntime}, {row.bundle} {row.target} {row.variant}: {row.cause}")
    failed = 0
    for (processor, versions), found in tested.items():
        count = sum(found["skipped"].values())
        print(
            f"tests, {processor}, {versions}: {found['passed']} passed, {len(found['failed'])} failed, {count} skipped"
        )
        for reason, number in found["skipped"].items():
            print(f"  {number} skipped: {reason}")
        for name, said in found["failed"].items():
            print(f"  FAILED {name}: {said.strip().splitlines()[-1][:300]}")
        failed += len(found["failed"])
    for each in absent:
        print(f"SKIPPED: {each}")
    print(f"{time.monotonic() - began:.0f} s")
    return bool(wrong or failed)


if __name__ == "__main__":
    sys.exit(main())
