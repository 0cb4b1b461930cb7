"""The probes of a bundle are chosen and recorded, as the bundle is made or afterwards."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepipe.backend.session import SessionConfig
from edgepipe.backend.threads import available_threads
from edgepipe.bundle.layout import MANIFEST_NAME, PROBES_NAME
from edgepipe.bundle.tasks import generates
from edgepipe.checking.deviation import measure_distance
from edgepipe.checking.probe_runs import compute_rows, decode_made_up, describe_machine, sketch_rows
from edgepipe.checking.probes import HANDFUL, MOST_BYTES, Probe, Probes, Rows
from edgepipe.errors import BundleError, EdgepipeError, KernelError, TaskError
from edgepipe.pipelines.task_loading import load_task
from edgepipe_export.calibration.dataset import BUILT_IN
from edgepipe_export.evaluation.tasks import find_evaluation, pipeline_task
from edgepipe_export.output.atomic_write import describe_shared_files, write_atomically
from edgepipe_export.probes.candidates import BATCH, LONG, PLAIN, SCRIPT, list_candidates
from edgepipe_export.quantization.recipe import FP32

if TYPE_CHECKING:
    from edgepipe import Bundle
    from edgepipe.pipelines.base import Task
    from edgepipe_export.calibration.dataset import Dataset

# How many are kept; of tasks that write text so many.
_KEPT, _KEPT_PROMPTS = 16, 6

# What rounding may do at the least, as a share of the outputs' size; and how much more than between numbers of threads.
_ROUNDING, _SPREAD = 1e-4, 2.0

# A border is a margin of so much of the largest output at the least: beneath it rounding decides.
_BORDER = 0.02


@dataclass(frozen=True, slots=True)
class ProbeCandidate:
    """A probe that may be chosen.

    Attributes:
        probe: The probe.
        outputs: What each variant gives for it.
    """

    probe: Probe
    outputs: Mapping[str, Rows]


@dataclass(frozen=True, slots=True)
class Run:
    """What a variant gives.

    Attributes:
        machine: What it ran on.
        outputs: For each candidate.
    """

    machine: Mapping[str, Any]
    outputs: Sequence[Rows]


def write_probes(folder: Path, bundle: Bundle, dtypes: Sequence[str], *arguments: Any) -> None:
    """Write the probes of a bundle into a folder, see :func:`make_probes`; nothing where there are none."""
    found = make_probes(bundle, dtypes, *arguments)
    if found is not None:
        (folder / PROBES_NAME).write_text(found.to_json(), encoding="utf-8")


def check_updatable(bundle: Bundle) -> None:
    """Make sure that probes can be added to a bundle.

    Raises:
        BundleError: it is another tool's, or has no fp32 to compare with.
    """
    if bundle.manifest is None:
        raise BundleError(
            f"{bundle.path} is another tool's, without a manifest that names probes; export its checkpoint"
        )
    if FP32 not in bundle.dtypes:
        raise BundleError(f"{bundle.path} has no {FP32}, which probes compare with; export its checkpoint again")


def add_probes(bundle: Bundle, device: str | int | None) -> None:
    """Write probes into a bundle that is there: in a copy that takes its place.

    Raises:
        ExportError: it cannot be written.
    """
    assert bundle.manifest is not None  # see check_updatable
    dtypes = [dtype for dtype in bundle.manifest.variants if dtype in bundle.measured_dtypes]
    with write_atomically(bundle.path.absolute(), overwrite=True) as folder:
        shutil.copytree(bundle.path, folder, dirs_exist_ok=True)
        write_probes(folder, bundle, dtypes, device)
        manifest = replace(bundle.manifest, files=describe_shared_files(folder))
        (folder / MANIFEST_NAME).write_text(manifest.to_json(), encoding="utf-8")


def make_probes(
    bundle: Bundle,
    dtypes: Sequence[str],
    device: str | int | None = None,
    data: Dataset | None = None,
    reference: Bundle | None = None,
) -> Probes | None:
    """Choose probes and record what variants give for them.

    Args:
        bundle: The bundle.
        dtypes: Its variants.
        device: Where variants run; fp32 runs on a processor.
        data: Inputs to choose from, in place of the built-in ones.
        reference: The bundle with fp32; by default the same.

    Returns:
        None where no input can be made for the task, or the checkpoint's labels do not let it answer.
    """
    name = bundle.task or ""
    task = name if generates(name) else pipeline_task(name)
    options = {} if generates(name) else {**find_evaluation(task).options[-1], **(data.options if data else {})}
    session = SessionConfig()
    try:
        loaded = load_task(task, reference or bundle, FP32, session)
    except TaskError:  # said to whoever loads it
        return None
    with loaded as model:
        probes = list_candidates(model, options, data)
        candidates = [each for probe in probes if (each := _try(model, probe, options)) is not None]
        machines = {FP32: describe_machine(model, session)} if FP32 in dtypes else {}
    if not candidates:
        return None
    for dtype in dtypes:
        run = None if dtype == FP32 else _run(bundle, task, dtype, SessionConfig(device), candidates)
        if run is not None:
            machines[dtype] = dict(run.machine)
            pairs = zip(candidates, run.outputs, strict=True)
            candidates = [replace(each, outputs={**each.outputs, dtype: rows}) for each, rows in pairs]
    candidates = _choose(candidates, list(machines), _KEPT_PROMPTS if generates(name) else _KEPT)
    found = Probes(
        task,
        options,
        BUILT_IN if data is None else data.origin,
        tuple(each.probe for each in candidates),
        {dtype: tuple(each.outputs[dtype] for each in candidates) for dtype in candidates[0].outputs},
        machines,
        {dtype: _measure_rounding(candidates, bundle, task, dtype, device) for dtype in machines},
    )
    while len(found.to_json()) > MOST_BYTES and len(found.probes) > HANDFUL:
        fewer = {dtype: rows[:-1] for dtype, rows in found.outputs.items()}
        found = replace(found, probes=found.probes[:-1], outputs=fewer)
    return found


def _try(task: Task, probe: Probe, options: Mapping[str, Any]) -> ProbeCandidate | None:
    """The probe with what fp32 and the task give for it; None where they give nothing."""
    try:
        rows = compute_rows(task, probe)
        results = decode_made_up(task, probe, rows, options)
    except EdgepipeError:  # a token without embedding, or a number that is none
        return None
    return ProbeCandidate(replace(probe, results=results), {FP32: sketch_rows(rows)})


def _run(
    bundle: Bundle, task: str, dtype: str, session: SessionConfig, candidates: Sequence[ProbeCandidate]
) -> Run | None:
    """What a variant gives for all candidates; None where it cannot run here, or gives no numbers."""
    try:
        with load_task(task, bundle, dtype, session) as model:
            outputs = [sketch_rows(compute_rows(model, each.probe)) for each in candidates]
            return Run(describe_machine(model, session), outputs)
    except (BundleError, KernelError):
        return None


def _measure_rounding(
    candidates: Sequence[ProbeCandidate], bundle: Bundle, task: str, dtype: str, device: str | int | None
) -> float:
    """How far rounding alone may take a variant: seen with another number of threads."""
    threads = 1 if available_threads() > 1 else 2
    run = _run(bundle, task, dtype, SessionConfig(None if dtype == FP32 else device, threads), candidates)
    own, exact = ([each.outputs[name] for each in candidates] for name in (dtype, FP32))
    spread = 0.0 if run is None else measure_distance(run.outputs, own, exact)
    return float(f"{max(_ROUNDING, _SPREAD * spread):.3g}")


def _choose(candidates: Sequence[ProbeCandidate], dtypes: Sequence[str], most: int) -> list[ProbeCandidate]:
    """Those that tell most first: near a border, moved most by quantization, in other scripts, several at once."""
    exact = [each.outputs[FP32] for each in candidates]
    values = (abs(value) for rows in exact for row in rows for each in row.values() for value in each.values)
    least = _BORDER * max(values, default=1.0)
    places = range(len(candidates))
    plain, scripts, batches, long = (
        [place for place in places if candidates[place].probe.kind == kind] for kind in (PLAIN, SCRIPT, BATCH, LONG)
    )
    margins = [_smallest_margin(rows) for rows in exact]
    moved = [_movement(candidate, dtypes, exact) for candidate in candidates]
    lengths = [sum(len(piece["input_ids"]) for piece in each.probe.pieces) for each in candidates]
    series = [
        ("border", sorted((place for place in plain if margins[place] > least), key=margins.__getitem__)),
        ("moved", sorted(plain, key=lambda place: -moved[place])),
        (SCRIPT, scripts),
        (BATCH, batches),
        ("short", sorted(plain, key=lengths.__getitem__)),
    ]
    chosen: dict[int, str] = {}
    for turn in places:
        for kind, own in series:
            if turn < len(own) and len(chosen) < most - len(long):
                chosen.setdefault(own[turn], kind)
    chosen |= dict.fromkeys(long, LONG)  # the last, as it takes most time
    return [
        replace(candidates[each], probe=replace(candidates[each].probe, kind=kind)) for each, kind in chosen.items()
    ]


def _smallest_margin(rows: Rows) -> float:
    return min((margin for row in rows for each in row.values() for margin in each.margins), default=0.0)


def _movement(candidate: ProbeCandidate, dtypes: Sequence[str], exact: Sequence[Rows]) -> float:
    own = [candidate.outputs[FP32]]
    return max((measure_distance([candidate.outputs[dtype]], own, exact) for dtype in dtypes), default=0.0)
