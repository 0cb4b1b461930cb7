"""Parity of a bundle with the PyTorch model that it was exported from: what ``edgepipe verify`` shows."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from edgepipe.backend.engines import engine_for
from edgepipe.backend.session import SessionConfig
from edgepipe.bundle import strict_json
from edgepipe.bundle.directory import Bundle
from edgepipe.bundle.manifest import Parity
from edgepipe.checking.reproduction import ReproducedFigure, compare_parity, describe_reproduction
from edgepipe.errors import CheckpointError, InputError, NotFiniteError, convert_panics
from edgepipe.models.variants import choose_variant, open_bundle, preferred_variants, stored_variant
from edgepipe.pipelines.task_loading import infer_task
from edgepipe.text_table import table, wrap
from edgepipe.tokenization.tokenizer import Tokenizer
from edgepipe_export.calibration.readers import check_path
from edgepipe_export.calibration.split import Split, split_again
from edgepipe_export.checkpoint.resolve import Request, resolve
from edgepipe_export.evaluation.checks import PYTORCH
from edgepipe_export.evaluation.tolerances import Tolerance, fewest_to_measure
from edgepipe_export.output.interrupts import deliver_interrupts
from edgepipe_export.output.log import log_to_file
from edgepipe_export.output.progress import Progress, Steps
from edgepipe_export.probes.recording import add_probes, check_updatable
from edgepipe_export.quantization.recipe import FP32
from edgepipe_export.requirements import require_packages

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from edgepipe_export.calibration.dataset import Dataset
    from edgepipe_export.checkpoint.load import LoadedCheckpoint
    from edgepipe_export.evaluation.checks import Check


@dataclass(frozen=True, slots=True)
class Verification:
    """What was compared, and how it came out.

    Attributes:
        rows: One a check.
        notes: Which variants were calibrated with these data.
        data: What was compared on: its ``origin``, how many ``inputs``, whether with the right answers (``gold``), and
            its digest (``data_sha256``).
        figures: The figures of ``edgepipe.json``, each beside what was measured now.
    """

    rows: tuple[Check, ...]
    notes: tuple[str, ...] = ()
    data: Mapping[str, Any] = field(default_factory=dict)
    figures: tuple[ReproducedFigure, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(row.passed for row in self.rows)

    def table(self, *, width: int | None = None) -> str:
        """The checks as an aligned text table, under it their figures and the first difference of those that failed.

        Args:
            width: How many columns of a terminal there are; by default lines are as long as they are.
        """
        headers = ["dtype", "check", "reference", "compared", "max difference", "label agreement", "result"]
        lines = [
            [
                row.dtype,
                row.check,
                row.reference,
                str(row.compared),
                "-" if row.max_difference is None else f"{row.max_difference:.2g}",
                "-" if row.agreement is None else f"{100 * row.agreement:.1f} %",
                "passed" if row.passed else "FAILED",
            ]
            for row in self.rows
        ]
        figures = [f"{row.dtype}, {row.check}: {_list_figures(row.figures)}" for row in self.rows if row.figures]
        failed = [f"FAILED: {row}" for row in self.rows if not row.passed]
        again = describe_reproduction(self.figures)
        below = [line for text in (*figures, *self.notes, *again, *failed) for line in wrap(text, width)]
        return "\n".join([table(headers, lines, width=width), *below])

    def to_json(self) -> str:
        """The checks as JSON."""
        checks = [asdict(row) for row in self.rows]
        figures = [each.to_record() for each in self.figures]
        return strict_json.dumps(
            {"passed": self.passed, "checks": checks, "notes": list(self.notes), "figures": figures}
        )


def _list_figures(figures: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.5g}" for name, value in figures.items())


def verify(
    bundle: str | os.PathLike[str] | Bundle,
    model: str | os.PathLike[str] | PreTrainedModel,
    *,
    texts: Sequence[str] | None = None,
    calibration: str | os.PathLike[str] | None = None,
    dtype: str | None = None,
    device: str | int | None = None,
    tokenizer: str | os.PathLike[str] | PreTrainedTokenizerBase | None = None,
    base: str | os.PathLike[str] | None = None,
    revision: str | None = None,
    max_drop: float | None = None,
    allow_pickle: bool = False,
    trust_remote_code: bool = False,
    update: bool = False,
    progress: bool | None = None,
) -> Verification:
    """Compare a bundle with a PyTorch model: tokens, tensors, and pipeline results.

    While it runs, what the process writes to standard output and standard error goes to a log file.

    Args:
        bundle: Directory or Hub id of the bundle, or a :class:`~edgepipe.Bundle`.
        model: What it was made from: Hub id, directory, file of weights, or a loaded model.
        texts: Texts to compare on; by default a built-in set of English sentences.
        calibration: A file to measure every variant on as the gate of an export does, in place of `texts`: quantized
            ones against fp32 where the bundle has it, fp32 itself against PyTorch. With the right answers in it, what
            the task's own metric loses decides.
        dtype: The variant to compare; by default all that are there, on CUDA those that it has kernels for.
        device: Where the bundle runs, as in :func:`~edgepipe.pipeline`; PyTorch runs on the processor.
        tokenizer: Needed with a loaded model.
        base: The base of an adapter or a file of weights, as for :func:`~edgepipe_export.export`.
        revision: Branch, tag or commit of a Hub id.
        max_drop: What a quantized variant may lose, as for :func:`~edgepipe_export.export`.
        allow_pickle: Whether weights may be unpickled.
        trust_remote_code: Whether Python files of the checkpoint may be run.
        update: Whether to write probes into the bundle, where every check passed: a bundle of an earlier version has
            none. It needs the variant fp32.
        progress: Whether to show stages on standard error: as a bar on a terminal, as lines elsewhere. By default only
            on a terminal.

    Raises:
        BundleError: the bundle is damaged or has no such variant.
        CheckpointError: the model cannot be loaded, or the bundle cannot have been made from it.
        DependencyError: a package of the exporter is missing.
        DeviceError: the device cannot be used, or has no kernels for the variant.
        InputError: `texts` is empty or holds something else than texts, or comes with `calibration`; or that file does
            not fit the task.
        TaskError: the model has no head for the bundle's task.
    """
    require_packages()
    if update and dtype is not None:
        raise InputError("update (--update) adds probes for all variants: leave dtype (--dtype) out")
    if texts is not None and (isinstance(texts, str) or not texts or not all(isinstance(t, str) for t in texts)):
        raise InputError(f"texts must be a list of at least one text, got {texts!r:.80}")
    if texts is not None and calibration is not None:
        raise InputError("texts and calibration (--calibration) exclude each other: give one of them")
    path, tolerance, session = check_path(calibration), Tolerance.from_max_drop(max_drop), SessionConfig(device)
    first = preferred_variants(session)
    opened = bundle if isinstance(bundle, Bundle) else open_bundle(bundle, dtype, session)
    chosen = choose_variant(opened, dtype, session)
    # A variant that is not there, or not for the device, is reported before the model is loaded.
    opened.files(stored_variant(chosen, session))
    if update:
        check_updatable(opened)
    there = [name for name in opened.measured_dtypes if name in first] if first else opened.dtypes
    dtypes = tuple(there) if dtype is None else (dtype,)
    found = opened.config.get("hash_seed")
    seed = found if isinstance(found, int) else None  # as it was exported with
    request = Request(model, infer_task(opened), tokenizer, revision, allow_pickle, trust_remote_code, base, seed)
    panics = convert_panics("the checkpoint")
    with panics, Progress(progress) as stages, deliver_interrupts(), log_to_file(lambda: stages.current):
        stages.expect(3 + len(dtypes) + update)
        with stages.stage("resolve"):
            checkpoint = resolve(request)
        with stages.stage("load"):
            from edgepipe_export.checkpoint.load import load
            from edgepipe_export.evaluation.checks import Check, summarize
            from edgepipe_export.evaluation.comparison import load_dataset, make_comparison, prepare_dataset
            from edgepipe_export.evaluation.parity import check_tokens

            loaded, task = load(checkpoint), checkpoint.task
            _require_same_kind(opened, loaded)
            given = load_dataset(path, loaded)
            profile = engine_for(session).device_profile(session)
            where = profile.gate or (None if profile.is_cpu else profile.name.lower())
            own, steps = Tokenizer.from_pretrained(opened.path), Steps()
            data = _split_as_recorded(opened, prepare_dataset(task, own, opened.max_length, given, texts))
            comparison = make_comparison(opened, loaded, task, texts, data, session, steps)
        with stages.stage("compare tokens"):
            rows = [check_tokens(own, loaded.tokenizer, comparison.texts)]
            figures: list[ReproducedFigure] = []
        for name in dtypes:
            with stages.stage(f"compare {name}"), steps.report_to(stages.step, comparison.count_steps(name)):
                by_fp32 = given is not None and name != FP32 and FP32 in opened.dtypes
                reference = FP32 if by_fp32 else PYTORCH
                try:
                    checks = comparison.check(name, reference, tolerance)
                    rows += checks
                    if (recorded := _recorded_parity(opened, name)) is not None:
                        exact = name == FP32
                        compared = len(comparison.texts) if exact else checks[-1].compared
                        digest = None if exact else data.data.digest
                        figures += compare_parity(name, recorded, summarize(checks, compared, data.seen, where, digest))
                    if given is not None and name == FP32:
                        rows += comparison.measure(name, PYTORCH, tolerance)
                except NotFiniteError as error:  # the others are worth to be seen
                    rows.append(Check("results", name, reference, 0, {}, None, "finite", False, str(error)))
        if update and all(row.passed for row in rows):
            with stages.stage("probes"):
                add_probes(opened, session.device)
    described = {
        "origin": data.data.origin,
        "inputs": len(data.measured.inputs),
        "gold": data.data.gold is not None,
        "data_sha256": data.data.digest,
        "seen": data.seen,
    }
    return Verification(tuple(rows), tuple(_calibration_notes(opened, dtypes, data)), described, tuple(figures))


def _recorded_parity(bundle: Bundle, dtype: str) -> Parity | None:
    variant = None if bundle.manifest is None else bundle.manifest.variants.get(dtype)
    return None if variant is None else variant.parity


def _split_as_recorded(bundle: Bundle, data: Dataset) -> Split:
    """The data as the export split them, if these are its data."""
    variants = [] if bundle.manifest is None else list(bundle.manifest.variants.values())
    calibrated = {str(variant.recipe.get("calibrated", {}).get("data_sha256")) for variant in variants}
    measured = {str(variant.parity.data_sha256) for variant in variants if variant.parity is not None}
    return split_again(data, fewest_to_measure(gold=data.gold is not None), calibrated, measured)


def _calibration_notes(bundle: Bundle, dtypes: Sequence[str], data: Split) -> Iterator[str]:
    """Name the variants that were calibrated with some of these data, and whether measurements flatter them."""
    variants = {} if bundle.manifest is None else bundle.manifest.variants
    for dtype in dtypes:
        variant = variants.get(dtype)
        calibrated = {} if variant is None else variant.recipe.get("calibrated", {})
        if calibrated.get("data_sha256") != data.data.digest:
            continue
        note = f"{dtype} was calibrated with {calibrated.get('inputs')} of these {len(data.data.inputs)} inputs"
        if data.seen:
            yield f"{note}, and is measured on them too, which flatters it"
        else:
            yield f"{note}, and is measured on the {len(data.measured.inputs)} others, as at export"


def _require_same_kind(bundle: Bundle, loaded: LoadedCheckpoint) -> None:
    """Refuse a model of another kind than the bundle was exported from: their outputs cannot be compared."""
    config = loaded.model.config.to_dict()
    for name in ("model_type", "vocab_size"):
        ours, theirs = bundle.config.get(name), config.get(name)
        if None not in (ours, theirs) and ours != theirs:
            raise CheckpointError(
                f"{loaded.checkpoint.name} has {name} {theirs!r}, {bundle.path} has {ours!r}: it was not made from "
                "this model; name the one that it was made from"
            )
