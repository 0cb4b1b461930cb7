"""An ONNX directory of any tool, looked through: what it can do, what is missing, and what each variant gives."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgepipe.backend.engines import create_session
from edgepipe.backend.session import SessionConfig
from edgepipe.bundle import strict_json
from edgepipe.bundle.directory import Bundle
from edgepipe.bundle.integrity import read_json
from edgepipe.bundle.labels import read_labels
from edgepipe.bundle.layout import DECODER, ENCODER, MODEL, PAST, PLAIN_DECODER
from edgepipe.bundle.tasks import generates, task_entry, task_names
from edgepipe.bundle.third_party import MODULES_NAME, is_sentence_encoder, read_module_entries
from edgepipe.embeddings.modules import Pooling, read_modules
from edgepipe.errors import BundleError, EdgepipeError, InputError
from edgepipe.models.variants import open_bundle
from edgepipe.pipelines.task_loading import infer_task, load_task
from edgepipe.text_table import table, wrap
from edgepipe_export.checkpoint.resolve import Request, resolve
from edgepipe_export.exporter import export
from edgepipe_export.quantization.recipe import FP32
from edgepipe_export.verifier import Verification, verify

if TYPE_CHECKING:
    from edgepipe_export.evaluation.checks import Check

# What edgepipe exports in place of others' variants.
_REPLACED = {"q8": "int8", "uint8": "int8", "bnb4": "q4"}


@dataclass(frozen=True, slots=True)
class Finding:
    """Something of a directory that is missing or wrong.

    Attributes:
        part: What it is about: ``"labels"``, ``"pooling"``, ``"modules"``, ``"cache"``, ``"tokenizer"``, ``"graphs"``.
        problem: What is wrong, and what to do, in a sentence.
        fatal: Whether results are wrong with it, and not only slow.
    """

    part: str
    problem: str
    fatal: bool = True


@dataclass(frozen=True, slots=True)
class AuditedVariant:
    """The verdict on one variant.

    Attributes:
        dtype: The variant.
        bytes: The size of its files.
        passed: Whether it gives what the checkpoint gives; None where there was no checkpoint to compare with.
        verdict: What decided, in words.
    """

    dtype: str
    bytes: int
    passed: bool | None
    verdict: str


@dataclass(frozen=True, slots=True)
class Audit:
    """What an audit found.

    Attributes:
        directory: The directory.
        tasks: The tasks that its graph can do, its own first.
        findings: What is missing or wrong.
        variants: The variants.
        verification: The comparison with the checkpoint; None without one.
    """

    directory: str
    tasks: tuple[str, ...]
    findings: tuple[Finding, ...]
    variants: tuple[AuditedVariant, ...]
    verification: Verification | None = None

    @property
    def passed(self) -> bool:
        """Whether no variant fails and nothing is wrong."""
        return not any(each.fatal for each in self.findings) and all(each.passed is not False for each in self.variants)

    def table(self, *, width: int | None = None) -> str:
        """The verdicts as an aligned text table, and the findings below it.

        Args:
            width: How many columns of a terminal there are; by default lines are as long as they are.
        """
        names = {True: "passed", False: "FAILED", None: "not compared"}
        rows = [[each.dtype, f"{each.bytes / 1e6:.1f} MB", names[each.passed], each.verdict] for each in self.variants]
        below = [f"{each.part}: {each.problem}" for each in self.findings] or ["nothing is missing"]
        lines = [line for text in below for line in wrap(text, width)]
        tasks = f"tasks: {', '.join(self.tasks) or 'none that edgepipe knows'}"
        return "\n".join([tasks, "", table(["dtype", "size", "result", "verdict"], rows, width=width), "", *lines])

    def to_json(self) -> str:
        """All of it as JSON."""
        record = asdict(replace(self, verification=None))
        checks = None if self.verification is None else [asdict(row) for row in self.verification.rows]
        return strict_json.dumps({"passed": self.passed, **record, "verification": checks})


def audit(
    directory: str | os.PathLike[str] | Bundle,
    model: str | os.PathLike[str] | None = None,
    *,
    calibration: str | os.PathLike[str] | None = None,
    max_drop: float | None = None,
    device: str | int | None = None,
    repair: str | os.PathLike[str] | None = None,
    allow_pickle: bool = False,
    progress: bool | None = None,
) -> Audit:
    """Look through an ONNX directory that any tool made: optimum, transformers and others.

    Args:
        directory: The directory or its Hub id.
        model: The checkpoint that it was made from; without it variants are only run.
        calibration: A file that quantized variants are measured on, as for :func:`~edgepipe_export.export`.
        max_drop: What a quantized variant may lose, likewise.
        device: Where the variants run.
        repair: A directory to write a bundle of the checkpoint to, with the same variants, that passes.
        allow_pickle: Whether weights may be unpickled.
        progress: Whether to show stages on standard error.

    Raises:
        BundleError: it has no graph that can be read; the message says which tool's directory it is, where that shows.
        CheckpointError: the checkpoint cannot be loaded, or is of another architecture.
        InputError: `repair` without `model`.
        ParityError: a variant of the repaired bundle misses its bound; see :func:`~edgepipe_export.export`.
    """
    if repair is not None and model is None:
        raise InputError("repair (--repair) exports the checkpoint again: name it too")
    session = SessionConfig(device)
    if not isinstance(directory, Bundle):
        _require_readable(Path(directory))
    opened = directory if isinstance(directory, Bundle) else open_bundle(directory, None, session)
    task = infer_task(opened)
    request = None if model is None else Request(model, task, None, None, allow_pickle, False)
    source = None if request is None else resolve(request).directory
    findings = [*_find_own_problems(opened), *(() if source is None else _compare_with_source(opened, source))]
    verification = None
    if model is None:
        variants = [_run_variant(opened, dtype, session) for dtype in opened.dtypes]
    else:
        verification = verify(
            opened,
            model,
            calibration=calibration,
            max_drop=max_drop,
            device=device,
            allow_pickle=allow_pickle,
            progress=progress,
        )
        findings += [
            Finding("tokenizer", f"it makes other tokens than the checkpoint's: {row.detail}")
            for row in verification.rows
            if row.check == "tokens" and not row.passed
        ]
        variants = [_judge(opened, dtype, verification.rows) for dtype in opened.dtypes]
    if repair is not None and model is not None:
        dtypes = dict.fromkeys(_REPLACED.get(dtype, dtype) for dtype in opened.dtypes)
        export(
            model, repair, dtypes=tuple(dtypes), calibration=calibration, max_drop=max_drop, allow_pickle=allow_pickle,
            progress=progress,
        )  # fmt: skip
    return Audit(str(opened.path), _list_tasks(task), tuple(findings), tuple(variants), verification)


def _require_readable(folder: Path) -> None:
    """Name what is no directory of ONNX graphs as transformers.js lays them out, where it can be told.

    Raises:
        BundleError: it is none.
    """
    if (folder / "genai_config.json").is_file():
        raise BundleError(
            f"{folder} is onnxruntime-genai's: its graphs take no padding and want one buffer for the whole cache, so "
            "only onnxruntime-genai runs them right; edgepipe export MODEL OUT makes a bundle of the checkpoint"
        )
    if (folder / "config.json").is_file():
        return
    if any(folder.glob("*.xml")):
        raise BundleError(f"{folder} is OpenVINO's IR, and no ONNX; edgepipe export MODEL OUT --target openvino")
    if any(folder.glob("*.onnx")):
        raise BundleError(
            f"{folder} has graphs, but no config.json, which says what they are; copy config.json and tokenizer.json "
            "of the checkpoint into it, and audit it again"
        )


def _list_tasks(own: str | None) -> tuple[str, ...]:
    """A bundle's own task, and those that have the same heads."""
    if own is None:
        return ()
    heads = task_entry(own).heads
    return (own, *(name for name in task_names() if name != own and task_entry(name).heads == heads))


def _find_own_problems(bundle: Bundle) -> Iterator[Finding]:
    """What can be told without the checkpoint."""
    if not (bundle.path / "tokenizer.json").is_file():
        yield Finding(
            "tokenizer",
            "there is no tokenizer.json, the one that runs without transformers: save a fast tokenizer there",
        )
    if is_sentence_encoder(bundle.path):
        try:
            read_modules(bundle.path)
        except EdgepipeError as error:
            yield Finding("modules", str(error))
    if generates(bundle.task):
        yield from _find_missing_cache(bundle)


def _find_missing_cache(bundle: Bundle) -> Iterator[Finding]:
    for dtype in bundle.dtypes:
        names = [name for name in (MODEL, DECODER, PLAIN_DECODER) if bundle.has_graph(dtype, name)]
        inputs = [create_session(bundle.graph(dtype, name)).inputs for name in names]
        if inputs and not any(each.startswith(PAST) for graph in inputs for each in graph):
            yield Finding(
                "cache",
                f"the decoder of {dtype} has no key-value cache, so each token reads the whole text again: export it "
                "with a past (optimum: --task text-generation-with-past)",
                fatal=False,
            )
        if bundle.config.get("is_encoder_decoder") and not bundle.has_graph(dtype, ENCODER):
            yield Finding("graphs", f"{dtype} has no encoder")


def _compare_with_source(bundle: Bundle, source: Path) -> Iterator[Finding]:
    """What the checkpoint says otherwise."""
    yield from _compare_labels(bundle, source)
    if not is_sentence_encoder(source):
        return
    if not (bundle.path / MODULES_NAME).is_file():
        kinds = [kind for kind, _ in read_module_entries(source)[1:]]
        yield Finding(
            "modules",
            f"there is no {MODULES_NAME}, so nothing says that {', '.join(kinds)} follow the transformer: copy it and "
            "the folders that it names from the checkpoint",
        )
        return
    try:
        yield from _compare_modules(bundle.path, source)
    except EdgepipeError:  # said of the directory alone
        return


def _compare_labels(bundle: Bundle, source: Path) -> Iterator[Finding]:
    path = source / "config.json"
    theirs = read_json(path) if path.is_file() else {}
    if "id2label" not in theirs or "id2label" not in bundle.config:
        return
    own, wanted = (read_labels(config) for config in (bundle.config, theirs))
    if dict(own) != dict(wanted):
        order = "in another order" if sorted(map(str, own.values())) == sorted(map(str, wanted.values())) else "others"
        yield Finding(
            "labels",
            f"the labels are {order} than the checkpoint's ({_list(wanted)}), here {_list(own)}: copy its config.json",
        )


def _list(labels: Mapping[int, Any]) -> str:
    return ", ".join(str(label) for _, label in sorted(labels.items())[:5])


def _compare_modules(folder: Path, source: Path) -> Iterator[Finding]:
    own, wanted = (list(read_modules(each)) for each in (folder, source))
    kinds = [[type(module).__name__ for module in modules] for modules in (own, wanted)]
    if kinds[0] != kinds[1]:
        missing = [kind for kind in kinds[1] if kind not in kinds[0]]
        yield Finding(
            "modules",
            (f"{', '.join(missing)} of the checkpoint is missing" if missing else "modules are others")
            + f": it has {', '.join(kinds[1])}, here are {', '.join(kinds[0]) or 'none'}; copy {MODULES_NAME} and the "
            "folders that it names",
        )
        return
    for one, other in zip(own, wanted, strict=True):
        if isinstance(one, Pooling) and isinstance(other, Pooling) and one != other:
            yield Finding(
                "pooling",
                f"tokens are pooled by {', '.join(one.modes)}, in the checkpoint by {', '.join(other.modes)}: copy its "
                "folder of the pooling",
            )
        elif not _are_equal(one, other):
            yield Finding("modules", f"{type(one).__name__} is another than the checkpoint's: copy its folder")


def _are_equal(one: Any, other: Any) -> bool:
    for name in getattr(one, "__dataclass_fields__", ()):
        values = getattr(one, name), getattr(other, name)
        same = np.array_equal(*values) if isinstance(values[0], np.ndarray) else values[0] == values[1]
        if not same and not callable(values[0]):
            return False
    return True


def _run_variant(bundle: Bundle, dtype: str, session: SessionConfig) -> AuditedVariant:
    """Whether a variant answers at all."""
    size = bundle.count_bytes(dtype)
    try:
        task: Any = load_task(None, bundle, dtype, session)
        with task:
            pieces = [dict(task.tokenizer("a b c", return_attention_mask=True))]
            task.compute_outputs(pieces, following=[0])
    except EdgepipeError as error:
        return AuditedVariant(dtype, size, False, str(error))
    return AuditedVariant(dtype, size, None, "it runs; name the checkpoint to compare it")


def _judge(bundle: Bundle, dtype: str, rows: Sequence[Check]) -> AuditedVariant:
    own = [row for row in rows if row.dtype == dtype]
    failed = [row for row in own if not row.passed]
    size = bundle.count_bytes(dtype)
    if failed:
        return AuditedVariant(dtype, size, False, str(failed[0].detail or failed[0].deciding_figure))
    exact = dtype == FP32
    figures = [key for key, _ in groupby(row.deciding_figure for row in own)]
    verdict = f"as the checkpoint in PyTorch, {len(own)} comparisons" if exact else "; ".join(figures)
    return AuditedVariant(dtype, size, True, verdict)
