"""What loading and running a bundle takes of memory: `python -m benchmarks.pipelines.memory BUNDLE ...`.

For each variant, plain and with `low_memory`, a process of its own imports, loads, and answers once. Columns, in MB:

- weights: the files of the variant
- counted: the least private memory that edgepipe expects of a load (`edgepipe.models.memory_check`)
- load, run: the most memory that was resident until it was loaded, and until it had answered (VmHWM)
- above: `run` less `weights`, of which the imports take some 60
- private: the most at any time that no other process shares and the kernel cannot drop (RssAnon, read all 2 ms)
- addresses: the most addresses (VmPeak), which `ulimit -v` limits
- LIMIT: whether it loads and answers with so many MB of addresses (`--limit`). That is stricter than a board with
  as much memory: addresses count that nothing lies behind, some 400 MB of them before anything is loaded. With
  `--groups FOLDER` it is the memory of a control group that counts, as on a board. FOLDER is a group of the first or
  the second version that this user may make others in, e.g. /sys/fs/cgroup/memory. What of Python and its libraries
  was in memory before is not counted there

`--make NAME FOLDER` writes a bundle of random weights first: distilbert-base, minilm, gpt2 or qwen2-0.5b. The last
takes some minutes and 8 GB.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.turns import print_progress
from benchmarks.worker import ENVIRONMENT

from edgepipe import Bundle
from edgepipe.backend.engines import engine_for
from edgepipe.backend.session import SessionConfig
from edgepipe.text_table import table

LIMITS = (512, 1024)
DTYPES = ("fp32", "int8", "w8", "q4")
TEXT = "The delivery was late again, and nobody answered."
NEW_TOKENS = 16
_MEGABYTE = 1e6
_KILOBYTE = 1024

_PROGRAM = """
import json, sys
path, dtype, low_memory, text, new_tokens, limit = json.loads(sys.argv[1])
if limit:
    import resource
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
def status():
    with open("/proc/self/status") as file:
        fields = (line.split() for line in file)
        return {words[0][:-1]: int(words[1]) * 1024 for words in fields if words[-1:] == ["kB"]}
from edgepipe import pipeline
task = pipeline(model=path, dtype=dtype, low_memory=low_memory, num_threads=2, verify="never")
loaded = status()
task(text, **({"max_new_tokens": new_tokens, "do_sample": False} if task.generates else {}))
ran = status()
print(json.dumps({"load": loaded["VmHWM"], "run": ran["VmHWM"], "addresses": ran["VmPeak"], "rest": ran["RssAnon"]}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", type=Path, nargs="*", metavar="BUNDLE")
    parser.add_argument("--make", nargs=2, action="append", metavar=("NAME", "FOLDER"), default=[])
    parser.add_argument("--dtype", action="append", help="[default: each that the bundle has]")
    parser.add_argument("--limit", type=int, action="append", help=f"[default: {LIMITS}]")
    parser.add_argument("--groups", type=Path, metavar="FOLDER")
    arguments = parser.parse_args()
    bundles = list(arguments.bundles)
    for name, folder in arguments.make:
        print_progress(f"making {name}")
        bundles.append(make_bundle(name, Path(folder)))
    limits = arguments.limit or LIMITS
    rows = [row for path in bundles for row in measure_bundle(path, arguments.dtype, limits, arguments.groups)]
    heads = ["bundle", "variant", "weights", "counted", "load", "run", "above", "private", "addresses"]
    print(table([*heads, *(f"{limit} MB" for limit in limits)], rows))


def make_bundle(name: str, folder: Path) -> Path:
    """Write a bundle of random weights; its directory."""
    from edgepipe_export import export

    bundle = folder / "bundle"
    if name in ("gpt2", "qwen2-0.5b"):
        from benchmarks.generation import generation_checkpoints

        generation_checkpoints.make(name, folder, ("q4",) if name == "qwen2-0.5b" else generation_checkpoints.DTYPES)
        return bundle
    from benchmarks.checkpoints import make_checkpoint

    make_checkpoint(name, folder / "checkpoint")
    export(str(folder / "checkpoint"), bundle, dtypes=DTYPES, verify=False)
    return bundle


def measure_bundle(
    path: Path, dtypes: Sequence[str] | None, limits: Sequence[int], groups: Path | None
) -> list[list[str]]:
    """A row for each variant, plain and with low_memory."""
    rows, bundle = [], Bundle.load(path)
    for dtype in dtypes or bundle.dtypes:
        for low_memory in (False, True):
            print_progress(f"{bundle.path}: {dtype}{', low_memory' if low_memory else ''}")
            config = SessionConfig(low_memory=low_memory)
            graphs = [file for file in bundle.files(dtype) if file.suffix == ".onnx"]
            counted = sum(engine_for(config).count_memory(graph, config).private for graph in graphs)
            weights = bundle.count_bytes(dtype)
            found = run_child(bundle.path, dtype, low_memory)
            figures = [weights, counted, found["load"], found["run"], found["run"] - weights]
            figures += [found["private"], found["addresses"]]
            loads = [answer_within(bundle.path, dtype, low_memory, limit, groups) for limit in limits]
            name = f"{dtype}, low memory" if low_memory else dtype
            rows.append([bundle.path.parent.name, name, *(f"{size / _MEGABYTE:.0f}" for size in figures), *loads])
    return rows


def run_child(path: Path, dtype: str, low_memory: bool) -> dict[str, int]:
    """What a process of its own took, in bytes.

    Raises:
        SystemExit: it failed.
    """
    argument = json.dumps([str(path), dtype, low_memory, TEXT, NEW_TOKENS, 0])
    with tempfile.TemporaryFile("w+") as problems:
        process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, argument],
            stdout=subprocess.PIPE,
            stderr=problems,
            text=True,
            env=ENVIRONMENT,
        )
        private = 0
        while process.poll() is None:
            private = max(private, _read_private(process.pid))
            time.sleep(0.002)
        said = process.communicate()[0]
        if process.returncode != 0:
            problems.seek(0)
            raise SystemExit(problems.read())
    found: dict[str, Any] = json.loads(said)
    return {**found, "private": max(private, found["rest"])}


def _read_private(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:  # it ended meanwhile
        return 0
    return next((int(line.split()[1]) * _KILOBYTE for line in lines if line.startswith("RssAnon:")), 0)


@contextmanager
def make_group(groups: Path | None, limit: int) -> Iterator[list[str]]:
    """A control group with so many bytes, and the command that runs another one in it; empty where none is wanted."""
    if groups is None:
        yield []
        return
    folder = groups / f"edgepipe-{os.getpid()}"
    folder.mkdir()
    try:
        names = ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.max", "memory.swap.max")
        first, *swap = (folder / name for name in names if (folder / name).exists())
        first.write_text(str(limit))
        for file in swap:  # none of it may go to a disk; where both count together, they are the same
            file.write_text("0" if file.name == "memory.swap.max" else str(limit))
        yield ["sh", "-c", f'echo $$ > {folder / "cgroup.procs"} && exec "$@"', "sh"]
    finally:
        folder.rmdir()


def answer_within(path: Path, dtype: str, low_memory: bool, limit: int, groups: Path | None) -> str:
    """Whether it answers with so many MB of addresses, or in a group of so many, and what it says where it does not."""
    argument = [str(path), dtype, low_memory, TEXT, NEW_TOKENS, 0 if groups else limit * 2**20]
    # OpenBLAS and the C library reserve addresses for each thread that there may be.
    environment = ENVIRONMENT | {"OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
    with make_group(groups, limit * 2**20) as join:
        done = subprocess.run(
            [*join, sys.executable, "-c", _PROGRAM, json.dumps(argument)],
            capture_output=True, text=True, env=environment, check=False,
        )  # fmt: skip
    if done.returncode == 0:
        return "answers"
    last = (done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1]
    kind = last.partition(":")[0].rpartition(".")[2]
    return f"{kind} (said before)" if "its weights need" in last else kind


if __name__ == "__main__":
    main()
