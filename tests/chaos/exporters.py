"""Exports in forked processes, from a process that has everything imported: each takes a fraction of a second.

Two ways. ``"light"`` writes one of two bundles made by hand, through :func:`write_atomically`, as an export does in the
end; nothing but edgepipe is imported. ``"torch"`` runs the whole of ``edgepipe_export.export`` on one of two models.
Their traces are made once, see :mod:`tests.shared_traces`: tracing takes seconds and writes nothing.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NoReturn

from edgepipe import Bundle, pipeline
from edgepipe.errors import EdgepipeError
from edgepipe_export.output.atomic_write import write_atomically
from edgepipe_export.output.interrupts import deliver_interrupts
from tests.chaos.faults import Operations
from tests.chaos.run import wait

TEXT = "a b c"
NAMES = ("one", "two")

# What a forked export is told: where, which of the two, and what goes wrong.
Prepare = Callable[[], object]


class Exporter:
    """Writes one of two bundles, which tell each other apart by digest and answer.

    Args:
        way: ``"light"`` or ``"torch"``.
        folder: For the two bundles as they are when nothing goes wrong.
    """

    def __init__(self, way: str, folder: Path) -> None:
        self._stack = ExitStack()
        self._make = _prepare_light(folder) if way == "light" else _prepare_torch(self._stack)
        self.answers: dict[str, Any] = {}
        self.digests: dict[str, str] = {}
        for name in NAMES:
            whole = folder / f"whole-{name}"
            self._make(name, whole, False)
            bundle = Bundle.load(whole)
            self.digests[bundle.digest] = name
            self.answers[name] = answer(whole)
        assert len(self.digests) == 2
        assert self.answers[NAMES[0]] != self.answers[NAMES[1]]

    def close(self) -> None:
        """Trace as before again."""
        self._stack.close()

    def start(self, name: str, output: Path, prepare: Prepare = lambda: None) -> int:
        """Begin an export to `output` in a forked process, which overwrites what is there.

        Args:
            name: Which of the two.
            output: Where.
            prepare: Called first in the new process.

        Returns:
            The number of the process. Its last words are in :func:`last_words`, and its status is 0 where the export
            ended well, 1 where it raised an error of ours, 2 at any other, and that of the signal where one ended it.
        """
        words = output.with_name(f"{output.name}.words")
        words.unlink(missing_ok=True)
        process = os.fork()
        if process == 0:
            self._run(name, output, words, prepare)
        return process

    def count_operations(self, output: Path, *, only_writes: bool = False) -> int:
        """How many operations on files an undisturbed export to `output` has (:mod:`tests.chaos.faults`)."""
        record = output.with_name("count")

        def prepare() -> None:
            operations = Operations(output.parent, only_writes=only_writes)
            leave = os._exit

            def write(status: int) -> None:
                operations.stop()
                record.write_text(str(operations.count))
                leave(status)

            os._exit = write  # type: ignore[assignment]

        wait(self.start(NAMES[1], output, prepare))
        count = int(record.read_text())
        record.unlink()
        return count

    def _run(self, name: str, output: Path, words: Path, prepare: Prepare) -> NoReturn:
        status = 2
        try:
            import signal

            signal.signal(signal.SIGINT, signal.default_int_handler)  # a parent in the background ignores it
            quiet = os.open(os.devnull, os.O_WRONLY)
            os.dup2(quiet, 1)
            os.dup2(quiet, 2)
            prepare()
            self._make(name, output, True)
            status = 0
        except KeyboardInterrupt:
            status = 130
        except BaseException as error:  # noqa: BLE001 - a forked process must not go on with its parent's program
            status = 1 if isinstance(error, EdgepipeError) else 2
            words.write_text(json.dumps([type(error).__name__, str(error)]))
        os._exit(status)


def last_words(output: Path) -> tuple[str, str]:
    """The kind and the message of the error that ended an export to `output`; empty where none did."""
    words = output.with_name(f"{output.name}.words")
    if not words.is_file():
        return "", ""
    kind, message = json.loads(words.read_text())
    return kind, message


def answer(folder: Path) -> Any:
    """What a bundle says of a text."""
    with pipeline(model=folder, num_threads=1) as classify:
        return classify(TEXT)


def describe(folder: Path, digests: Mapping[str, str], answers: Mapping[str, Any]) -> str:
    """Which of the two bundles is there, whole and with the right answer; "nothing"; or what is wrong."""
    if not os.path.lexists(folder):
        return "nothing"
    try:
        bundle = Bundle.load(folder)
        bundle.check()
        name = digests.get(bundle.digest, "another bundle")
        if name in answers and answer(folder) != answers[name]:
            return f"{name}, which answers otherwise"
    except (EdgepipeError, OSError) as error:
        return f"damaged: {error}"
    return name


def _prepare_light(folder: Path) -> Callable[[str, Path, bool], None]:
    from tests.export.end_to_end.test_overwriting import write_sources

    sources = {path.name: path for path in write_sources(folder / "sources")}

    def make(name: str, output: Path, overwrite: bool) -> None:
        with deliver_interrupts() as interrupts, write_atomically(output, overwrite=overwrite) as partial:
            for source in sorted(sources[name].rglob("*")):  # copytree would collect errors, in one of its own
                target = partial / source.relative_to(sources[name])
                target.mkdir() if source.is_dir() else shutil.copyfile(source, target)
            interrupts.raise_lost()

    return make


def _prepare_torch(stack: ExitStack) -> Callable[[str, Path, bool], None]:
    os.environ.update(HF_HUB_OFFLINE="1", EDGEPIPE_CACHE="")
    from edgepipe_export import export
    from tests.shared_traces import share_traces
    from tests.tiny import build

    stack.enter_context(share_traces())
    models = {name: build("bert", seed=seed) for seed, name in enumerate(NAMES)}

    def make(name: str, output: Path, overwrite: bool) -> None:
        model, tokenizer = models[name]
        export(model, output, tokenizer=tokenizer, verify=False, overwrite=overwrite)

    return make


if not sys.platform.startswith("linux"):
    raise SystemExit("chaos needs Linux: forks, /proc, and clocks of other processes")
