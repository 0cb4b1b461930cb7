"""Bundles and folders of other tools that were changed: refused, or right, or what they now say."""

from __future__ import annotations

import json
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from edgepipe import Bundle, pipeline
from edgepipe.bundle.manifest import digest_record
from edgepipe.cli.commands.info import describe, render
from edgepipe.errors import BundleError, EdgepipeError
from tests.fuzz.campaign import Campaign, Outcome, describe_error
from tests.fuzz.mutations import mutate_bytes, mutate_graph, mutate_json
from tests.runtime.foreign_folders import as_repository
from tests.runtime.small_bundle import entry, write_bundle

FOREIGN = Path(__file__).parents[1] / "data" / "foreign"
MANIFEST = "edgepipe.json"

# What is changed, and how often; a file that a folder does not have is another of its files.
PARTS = ("config.json", "tokenizer.json", "tokenizer_config.json", MANIFEST, "*.onnx", "*.onnx_data", "*", "folder")
_WEIGHTS = (6, 4, 3, 5, 7, 2, 3, 2)


@dataclass(frozen=True)
class Step:
    """One change.

    Attributes:
        part: Which file: one of PARTS.
        seed: What the change is drawn from.
    """

    part: str
    seed: int


@dataclass(frozen=True)
class BundleCase:
    """A changed bundle.

    Attributes:
        base: The name of the bundle.
        steps: The changes, in order.
        agrees: Whether the manifest is made to agree with the changed files.
    """

    base: str
    steps: tuple[Step, ...]
    agrees: bool


@dataclass(frozen=True)
class Base:
    """A bundle before it is changed.

    Attributes:
        folder: Where it is.
        inputs: What its pipeline is called with.
        answers: What it answers, as JSON.
    """

    folder: Path
    inputs: tuple[Any, ...]
    answers: str


TEXTS = ("I love this", "What a waste of time, Zoë! 你好 " * 3)
MASKED = ("I [MASK] this", "a [MASK] b")
QUESTIONS = ({"question": "Who?", "context": "My name is Sarah and I live in London. " * 3},)
INPUTS: Mapping[str, tuple[Any, ...]] = {"fill-mask": MASKED, "question-answering": QUESTIONS}


def ask(folder: Path, inputs: tuple[Any, ...]) -> str:
    """What a bundle answers, as JSON; the call of a model that writes is a short one."""
    pipe: Any = pipeline(model=folder, num_threads=1)
    options = {"max_new_tokens": 6, "do_sample": False} if hasattr(pipe, "stream") else {}
    return json.dumps([pipe(each, **options) for each in inputs], allow_nan=False)


class BundleCampaign(Campaign):
    """See the module."""

    name, unit, count, seconds, addresses = "bundles", "bundles", 1_500, 300.0, 3 << 30
    makers: Mapping[str, Callable[[Path], Any]] = {
        "ours": lambda folder: write_bundle(folder, inputs=("input_ids", "attention_mask", "token_type_ids")),
        "ours, two variants": lambda folder: write_bundle(folder, ("fp32", "int8")),
        **{
            path.name: lambda folder, kept=path: (
                as_repository(kept, folder) if kept.name.startswith("optimum") else shutil.copytree(kept, folder)
            )
            for path in sorted(FOREIGN.iterdir())
            if path.is_dir()
        },
    }

    @cached_property
    def _place(self) -> tempfile.TemporaryDirectory[str]:
        return tempfile.TemporaryDirectory(prefix="edgepipe-fuzz-")

    @cached_property
    def _bases(self) -> dict[str, Base]:
        return {name: self._make_base(name) for name in self.makers}

    def _make_base(self, name: str) -> Base:
        folder = Path(self._place.name) / "bases" / name
        folder.parent.mkdir(exist_ok=True)
        self.makers[name](folder)
        inputs = next((given for task, given in INPUTS.items() if task in name), TEXTS)
        return Base(folder, inputs, ask(folder, inputs))

    def prepare(self) -> None:
        """Make all bundles now."""
        assert self._bases

    def make(self, index: int) -> BundleCase:
        draw = self.draw(index)
        steps = tuple(
            Step(part, draw.randrange(2**32))
            for part in draw.choices(PARTS, _WEIGHTS, k=draw.choice((1, 1, 1, 1, 2, 3)))
        )
        # Half of the cases are of bundles with a manifest.
        own = [name for name in self.makers if name.startswith("ours")]
        base = draw.choice(own if draw.random() < 0.5 else list(self.makers))
        return BundleCase(base, steps, draw.random() < 0.6)

    def run(self, case: BundleCase) -> Outcome:
        base = self._bases[case.base]
        folder = Path(self._place.name) / "changed"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(base.folder, folder, symlinks=True)
        change(folder, case)
        return judge(folder, base, case)

    def blame(self, case: BundleCase, kind: str) -> str:
        """A graph or tokenizer that was changed may do that, where no manifest shows the change."""
        parts = {step.part for step in case.steps}
        shown = case.base.startswith("ours") and not case.agrees
        may = {"*.onnx", "*.onnx_data", "tokenizer.json", "*", "folder"}
        return "library" if parts & may and not shown else kind


class ExportCampaign(BundleCampaign):
    """Bundles that the exporter made: of one graph with a cache, of two graphs, with modules."""

    name, count = "exports", 500

    @cached_property
    def _bases(self) -> dict[str, Base]:
        from tests.tiny.generation import export_generative
        from tests.tiny.parity import export_tiny

        found = {}
        for name, family, task in self.kinds:
            place = Path(self._place.name) / name
            place.mkdir()
            made = export_tiny(family, task, place) if task else export_generative(family, place)
            inputs = INPUTS.get(task, ("I love this", "What a waste"))  # those that write have room for few tokens
            found[name] = Base(made[2].path, inputs, ask(made[2].path, inputs))
        return found

    kinds = (
        ("ours, gpt2", "gpt2", ""),
        ("ours, bart", "bart", ""),
        ("ours, token-classification", "roberta", "token-classification"),
        ("ours, fill-mask", "bert", "fill-mask"),
        ("ours, feature-extraction", "bert", "feature-extraction"),
    )
    makers: Mapping[str, Callable[[Path], Any]] = dict.fromkeys((name for name, *_ in kinds), shutil.copytree)


def change(folder: Path, case: BundleCase) -> None:
    """Change a folder; the same case gives the same change."""
    for step in case.steps:
        draw = random.Random(step.seed)
        if step.part == "folder":
            _change_folder(folder, draw)
            continue
        files = _files(folder)
        found = [file for file in files if file.match(step.part)] or files
        if not found:
            return
        file = draw.choice(found)
        mutate = {".json": mutate_json, ".onnx": mutate_graph}.get(file.suffix, mutate_bytes)
        file.write_bytes(mutate(file.read_bytes(), draw))
    if case.agrees:
        _agree(folder)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def _change_folder(folder: Path, draw: random.Random) -> None:
    files = _files(folder)
    if len(files) < 2:
        return
    file, other = draw.sample(files, 2)
    kind = draw.choice(
        ("delete", "empty", "folder", "swap", "copy", "link", "outside", "nowhere", "loop", "pipe", "move")
    )
    content = file.read_bytes()
    if kind == "empty":
        file.write_bytes(b"")
    elif kind == "swap":
        file.write_bytes(other.read_bytes())
        other.write_bytes(content)
    elif kind == "copy":
        file.write_bytes(other.read_bytes())
    elif kind == "move":
        file.rename(file.with_name(draw.choice(("a", "model_int8.onnx", "modules.json", "generation_config.json"))))
    else:
        file.unlink()
        if kind == "folder":
            file.mkdir()
        elif kind == "pipe":
            os.mkfifo(file)
        elif kind != "delete":
            file.symlink_to(
                {"link": other, "outside": draw.choice(("/etc/passwd", "/dev/zero", "/dev/stdin", "..")),
                 "nowhere": "nothing", "loop": file.name}[kind]
            )  # fmt: skip


def _agree(folder: Path) -> None:
    """Have the manifest say the sizes and hashes of the files as they are, and its own digest, where it can."""
    path = folder / MANIFEST
    if not path.is_file():
        return
    try:
        record = json.loads(path.read_bytes())
        records = [*record["files"], *(each for variant in record["variants"].values() for each in variant["files"])]
        for each in records:
            if not (folder / each["path"]).is_file():  # no device, which has no end
                continue
            now = entry(folder, folder / each["path"])
            each |= {"bytes": now.bytes, "sha256": now.sha256}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError, BundleError):
        pass  # what cannot be made to agree stays
    try:
        record["manifest_sha256"] = digest_record({k: v for k, v in record.items() if k != "manifest_sha256"})
        path.write_text(json.dumps(record), encoding="utf-8")
    except (OSError, ValueError, TypeError, AttributeError, RecursionError, UnboundLocalError):
        pass


def judge(folder: Path, base: Base, case: BundleCase) -> Outcome:
    """What came of a changed folder."""
    try:
        render(describe(Bundle.load(folder)))
        answers = ask(folder, base.inputs)
    except EdgepipeError:
        return Outcome("refused")
    except ValueError as error:
        if "not JSON compliant" in str(error):
            return Outcome("wrong", f"an answer that is no JSON: {error}")
        return Outcome("raw", describe_error(error))
    except BaseException as error:  # noqa: BLE001 - Rust's panics are no Exception
        return Outcome("raw", describe_error(error))
    if answers == base.answers:
        return Outcome("equal")
    if (base.folder / MANIFEST).exists() and not case.agrees:
        # `edgepipe info --check` has to see it; the sizes, and what is in a graph, were to be seen at load.
        try:
            Bundle.load(folder).check()
        except EdgepipeError as error:
            altered = [file for file in _files(base.folder) if file.suffix == ".onnx" and not _same(file, base, folder)]
            if altered or "bytes, the manifest says" in str(error):
                return Outcome("wrong", f"loaded though {altered or error}")
            return Outcome("different")
        return Outcome("wrong", f"{answers[:200]} instead of {base.answers[:200]}, and no check shows it")
    return Outcome("different")


def _same(file: Path, base: Base, folder: Path) -> bool:
    now = folder / file.relative_to(base.folder)
    return now.is_file() and now.read_bytes() == file.read_bytes()
