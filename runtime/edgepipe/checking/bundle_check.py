"""The check of a bundle against its probes, on this machine: what ``edgepipe check`` shows."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from edgepipe.backend.engines import engine_for
from edgepipe.backend.machine import machine_name
from edgepipe.backend.session import Provider, SessionConfig, describe_placement
from edgepipe.bundle import strict_json
from edgepipe.bundle.directory import Bundle
from edgepipe.bundle.integrity import check_sha256
from edgepipe.bundle.layout import STORED_AS
from edgepipe.checking.causes import RESULTS, TOKENIZER, explain_deviation, explain_not_finite, explain_swap
from edgepipe.checking.deviation import Deviation, compare_rows, is_of_another
from edgepipe.checking.engine_trial import check_engine
from edgepipe.checking.probe_runs import (
    compute_rows,
    decode_made_up,
    describe_machine,
    encode_inputs,
    sketch_rows,
)
from edgepipe.checking.probes import HANDFUL, Probe, Probes, find_probes
from edgepipe.checking.reproduction import ReproducedFigure, describe_reproduction
from edgepipe.checking.signature import check_signature
from edgepipe.errors import BundleError, EdgepipeError, InputError, KernelError, NotFiniteError
from edgepipe.models.variants import open_bundle, preferred_variants, stored_variant
from edgepipe.pipelines.base import Task
from edgepipe.pipelines.registry import task_class
from edgepipe.pipelines.task_loading import load_task
from edgepipe.text_table import table, wrap


@dataclass(frozen=True, slots=True)
class VariantCheck:
    """One variant on this machine.

    Attributes:
        dtype: The variant.
        passed: Whether it gives what it gave where it was made; None where nothing was recorded of it.
        cause: What may be behind a failure, and what to do; or why nothing was compared.
        probes: How many probes were run.
        deviation: How far its outputs are; None where it has none.
        placement: How many operators of each kind each provider runs; empty where edgepipe knows that without asking.
    """

    dtype: str
    passed: bool | None
    cause: str | None
    probes: int
    deviation: Deviation | None = None
    placement: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BundleCheck:
    """What a check found.

    Attributes:
        bundle: The bundle's directory.
        machine: Processor, threads and system.
        engine: What the variants ran on.
        altered: What is wrong with files, a sentence each.
        variants: The variants.
        figures: What the bundle says of its variants, beside what came out here.
    """

    bundle: str
    machine: str
    engine: str
    altered: tuple[str, ...]
    variants: tuple[VariantCheck, ...]
    figures: tuple[ReproducedFigure, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether all files are whole, and every variant of which something was recorded gives what it gave."""
        return not self.altered and all(each.passed is not False for each in self.variants)

    def table(self, *, width: int | None = None) -> str:
        """The variants as an aligned text table, and what is wrong below it.

        Args:
            width: How many columns of a terminal there are; by default lines are as long as they are.
        """
        headers = ["dtype", "probes", "from export", "from fp32", "at export", "decisions", "result"]
        rows = [
            [each.dtype, str(each.probes), *_describe(each.deviation), _RESULTS[each.passed]] for each in self.variants
        ]
        below = [f"{each.dtype}: {each.cause}" for each in self.variants if each.cause is not None]
        below += [f"{each.dtype}: {describe_placement(each.placement)}" for each in self.variants if each.placement]
        again = describe_reproduction(self.figures)
        lines = [line for text in (*self.altered, *below, *again) for line in wrap(text, width)]
        head = wrap(f"{self.engine} on {self.machine}", width)
        return "\n".join([*head, "", table(headers, rows, width=width), *lines])

    def to_json(self) -> str:
        """All of it as JSON."""
        figures = [each.to_record() for each in self.figures]
        return strict_json.dumps({"passed": self.passed, **asdict(self), "figures": figures})


# The figure of the probes, and why the manifest's are not measured.
_DISTANCE = "probes.distance_from_fp32"
_NEEDS_CHECKPOINT = "they need the checkpoint (edgepipe verify BUNDLE MODEL)"

_RESULTS = {True: "passed", False: "FAILED", None: "not recorded"}


def _describe(found: Deviation | None) -> list[str]:
    if found is None:
        return ["-"] * 4
    shares = [f"{100 * share:.2g} %" for share in (found.from_export, found.from_fp32, found.exported)]
    return [*shares, f"{found.decided - found.decisions} of {found.decided}"]


def check(
    bundle: str | os.PathLike[str] | Bundle,
    *,
    dtype: str | None = None,
    device: str | int | None = None,
    num_threads: int | None = None,
    providers: Sequence[Provider] | None = None,
    signature: str | os.PathLike[str] | None = None,
    public_key: str | os.PathLike[str] | None = None,
    certificate_chain: str | os.PathLike[str] | None = None,
) -> BundleCheck:
    """Check on this machine that a bundle still gives what it gave where it was made: files, tokens, outputs, results.

    ::

        check("path/to/bundle").passed  # True
        print(check("path/to/bundle", device="openvino").table())

    Args:
        bundle: Directory or Hub id of the bundle, or a :class:`~edgepipe.Bundle`.
        dtype: The variant to check; by default all that are there, on CUDA those that it has kernels for.
        device: Where it runs, as in :func:`~edgepipe.pipeline`, as for the two arguments that follow.
        num_threads: Threads inside one operator.
        providers: onnxruntime's own list of execution providers, in place of `device`.
        signature: A file of OpenSSF's model signing over the directory, which has to hold.
        public_key: With which key it was made; or
        certificate_chain: with a certificate that leads to these.

    Raises:
        BundleError: the bundle is damaged, or has no probes, or no such variant.
        DependencyError: a signature is to be checked, and model-signing is not installed.
        DeviceError: the device cannot be used here, or its engine dies on this processor.
        InputError: a signature without a key, or a key without a signature.
    """
    if signature is None and (public_key is not None or certificate_chain is not None):
        raise InputError("a key or certificates check a signature: give signature (--signature) too")
    session = SessionConfig(device, num_threads, providers=providers)
    check_engine(session)
    opened = bundle if isinstance(bundle, Bundle) else open_bundle(bundle, dtype, session)
    unsigned = None
    if signature is not None:
        try:
            check_signature(opened.path, signature, public_key, certificate_chain)
        except BundleError as error:
            unsigned = str(error)
    found = opened.read(lambda there: _check(there, dtype, session))
    return found if unsigned is None else replace(found, altered=(unsigned, *found.altered))


def _check(bundle: Bundle, dtype: str | None, session: SessionConfig) -> BundleCheck:
    altered = tuple(_find_altered(bundle))
    probes = load_probes(bundle)
    if dtype is None:
        first = preferred_variants(session)
        dtypes = [name for name in bundle.measured_dtypes if _runs(name, first)]
    else:
        dtypes = [dtype]
        bundle.files(stored_variant(dtype, session))
    variants = tuple(check_variant(bundle, probes, name, session) for name in dtypes)
    engine = engine_for(session).version(session)
    figures = tuple(_compare_figures(bundle, probes, variants))
    return BundleCheck(str(bundle.path), machine_name(session.num_threads), engine, altered, variants, figures)


def _compare_figures(bundle: Bundle, probes: Probes, variants: Sequence[VariantCheck]) -> Iterator[ReproducedFigure]:
    """What was recorded of each variant, and what of it probes alone can show."""
    for each in variants:
        found = each.deviation
        if found is not None:
            near = probes.tolerances[each.dtype]
            yield ReproducedFigure(each.dtype, _DISTANCE, found.exported, found.from_fp32, near + found.exported / 2)
        parity = None if bundle.manifest is None else bundle.manifest.variants[each.dtype].parity
        for name, value in ({} if parity is None else parity.list_figures()).items():
            yield ReproducedFigure(each.dtype, name, value, obstacle=_NEEDS_CHECKPOINT)


def _runs(dtype: str, preferred: Sequence[str]) -> bool:
    return dtype in preferred if preferred else dtype not in STORED_AS


def load_probes(bundle: Bundle) -> Probes:
    """The probes of a bundle.

    Raises:
        BundleError: it has none; the message says how to add them.
    """
    if bundle.manifest is None:
        raise BundleError(
            f"{bundle.path} is of another tool and has no probes to check it with; export its checkpoint with edgepipe"
        )
    if find_probes(bundle) is None:
        raise BundleError(
            f"{bundle.path} is of an earlier version and has no probes to check it with; edgepipe verify BUNDLE MODEL "
            "--update adds them"
        )
    return Probes.load(bundle.path)


def _find_altered(bundle: Bundle) -> Iterator[str]:
    for entry in bundle.recorded_files:
        try:
            check_sha256(bundle.path / entry.path, entry.sha256)
        except BundleError as error:
            yield str(error)


def check_variant(bundle: Bundle, probes: Probes, dtype: str, session: SessionConfig) -> VariantCheck:
    """Load one variant and run all probes."""
    if dtype not in probes.tolerances:
        return VariantCheck(dtype, None, "nothing was recorded of it where the bundle was made", 0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what nobody has measured here is measured now
            task = load_task(probes.task, bundle, dtype, session)
        with task:
            found = run_check(bundle, probes, task, dtype, session)
            model: Any = task.model
            return replace(found, placement=model.session.placement)
    except KernelError as error:
        return VariantCheck(dtype, None, str(error), 0)
    except BundleError as error:
        return VariantCheck(dtype, False, str(error), 0)


def run_check(
    bundle: Bundle, probes: Probes, task: Task, dtype: str, session: SessionConfig, count: int | None = None
) -> VariantCheck:
    """Run probes on a task that is loaded.

    Args:
        bundle: The bundle.
        probes: Its probes.
        task: The task of the probes, with the variant.
        dtype: The variant.
        session: What the task was loaded with.
        count: How many of the probes; None for all.
    """
    chosen = probes.probes[:count]

    def fail(cause: str, deviation: Deviation | None = None) -> VariantCheck:
        return VariantCheck(dtype, False, cause, len(chosen), deviation)

    try:
        if not all(_has_same_tokens(task, probe, probes.options) for probe in chosen):
            return fail(TOKENIZER)
        computed = [compute_rows(task, probe) for probe in chosen]
        got = [sketch_rows(rows) for rows in computed]
    except NotFiniteError:
        return fail(explain_not_finite(dtype))
    own, exact = (probes.outputs[name][: len(chosen)] for name in (dtype, "fp32"))
    elsewhere = probes.machines[dtype] != describe_machine(task, session)
    found = compare_rows(got, own, exact, probes.tolerances[dtype], elsewhere=elsewhere)
    # What merely rounds less than at the export may be near to fp32; where it is fp32 itself, it has not passed.
    others = set(probes.outputs) - {dtype} - ({"fp32"} if found.passed else set())
    for other in sorted(others):
        recorded = probes.outputs[other][: len(chosen)]
        if is_of_another(got, own, recorded, exact, probes.tolerances[dtype], elsewhere=elsewhere):
            return fail(explain_swap(dtype, other), found)
    if not found.passed:
        is_reference = engine_for(session) is engine_for(SessionConfig()) and task.model.on_cpu
        cause = explain_deviation(bundle, dtype, found, engine_for(session).version(session), is_reference=is_reference)
        return fail(cause, found)
    for probe, rows in zip(chosen, computed, strict=True):
        if not _gives_same_results(task, probe, rows, probes.options):
            return fail(RESULTS, found)
    return VariantCheck(dtype, True, None, len(chosen), found)


def check_first(bundle: Bundle, task: Task, session: SessionConfig) -> str | None:
    """Run a handful of probes on a task that a user has loaded; the cause of a failure, None where there is none.

    Raises:
        BundleError: the probes were altered.
    """
    entry = find_probes(bundle)
    assert entry is not None, "nobody checks without probes"
    check_sha256(bundle.path / entry.path, entry.sha256)
    probes = Probes.load(bundle.path)
    dtype = task.model.dtype
    if dtype not in probes.tolerances:
        return None
    own = task_class(probes.task)(task.tokenizer, task.model)
    return run_check(bundle, probes, own, dtype, session, HANDFUL).cause


def _has_same_tokens(task: Task, probe: Probe, options: Mapping[str, Any]) -> bool:
    try:
        pieces = encode_inputs(task, probe.inputs, options)
    except EdgepipeError:  # e.g. a mask token that this tokenizer does not have
        return False
    return list(pieces) == [dict(piece) for piece in probe.pieces]


def _gives_same_results(task: Task, probe: Probe, rows: Any, options: Mapping[str, Any]) -> bool:
    if probe.results is None:
        return True
    try:
        return bool(decode_made_up(task, probe, rows, options) == probe.results)
    except EdgepipeError:  # e.g. a logit without a label
        return False
