"""A checkpoint becomes a bundle, stage by stage.

1. resolve: checkpoint and task, by their names and config alone (:mod:`edgepipe_export.checkpoint.resolve`)
2. load: the model in PyTorch, its tokenizer, and its limit (:mod:`edgepipe_export.checkpoint.load`)
3. trace: the fp32 graphs (:mod:`edgepipe_export.tracing.trace`), with tokenizer and config beside them
4. quantize: the other variants, each from the fp32 graphs (:mod:`edgepipe_export.output.workspace`)
5. evaluate: fp32 beside PyTorch, the others beside fp32 on data (:mod:`edgepipe_export.evaluation.comparison`)
6. select: repair or refuse those that miss their bound, choose one (:mod:`edgepipe_export.selection.evaluator`)
7. write: probes (:mod:`edgepipe_export.probes.recording`), manifest and model card; the directory is renamed into place
   (:mod:`edgepipe_export.output.atomic_write`)
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepipe.arguments import check_whole, is_whole
from edgepipe.backend.disk_cache import cache_folder
from edgepipe.backend.engines import engine_for
from edgepipe.backend.machine import machine_name
from edgepipe.backend.session import SessionConfig
from edgepipe.bundle.directory import Bundle
from edgepipe.bundle.labels import check_labels, name_labels, read_labels
from edgepipe.bundle.layout import MODEL
from edgepipe.bundle.manifest import Manifest, Source, Variant
from edgepipe.errors import BundleError, CheckpointError, InputError, ParityError, convert_panics
from edgepipe.tokenization.tokenizer import Tokenizer
from edgepipe_export.calibration.readers import check_path
from edgepipe_export.calibration.split import Split, measure_all, shuffle, split
from edgepipe_export.checkpoint.formats.loading_errors import list_some
from edgepipe_export.checkpoint.formats.quantized_weights import rounds_activations
from edgepipe_export.checkpoint.resolve import Request, read_weights_config, resolve
from edgepipe_export.checkpoint.unsupported import find_activation
from edgepipe_export.evaluation.tolerances import Tolerance, fewest_to_measure
from edgepipe_export.output.atomic_write import check_destination, describe_shared_files, write_atomically
from edgepipe_export.output.cache import Cache
from edgepipe_export.output.config import is_in_transformers_js, write_config, write_generation_config
from edgepipe_export.output.fingerprint import fingerprint, hash_reference
from edgepipe_export.output.interrupts import deliver_interrupts
from edgepipe_export.output.log import log_to_file
from edgepipe_export.output.model_card import SourceCard, read_source_card, render_model_card
from edgepipe_export.output.progress import Progress, Steps
from edgepipe_export.output.workspace import Workspace, describe_variant
from edgepipe_export.probes.proving import find_prover, prove_variants
from edgepipe_export.quantization.int8_cache.cache_dtype import INT8, check_cache_dtype
from edgepipe_export.quantization.quantize import add_stored, check_dtypes, graph_path, load_recipe
from edgepipe_export.quantization.recipe import FP32
from edgepipe_export.quantization.target import CPU_TARGETS, Target, find_target
from edgepipe_export.requirements import package_versions, require_packages
from edgepipe_export.selection.choose import AUTO, check_preference, list_candidates
from edgepipe_export.selection.evaluator import Evaluator, leave_out
from edgepipe_export.selection.latency import foreign_load
from edgepipe_export.selection.mixed_precision import check_budget
from edgepipe_export.tracing.trace import TraceOptions

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from edgepipe_export.calibration.dataset import Dataset
    from edgepipe_export.checkpoint.limits import Limits
    from edgepipe_export.checkpoint.load import LoadedCheckpoint


# By when an export that chooses is to be done with measuring variants as they are made, and with repairs, as parts of
# its budget. The rest is for latencies, and to be sure of the best.
_MEASURED, _REPAIRED = 0.4, 0.8


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What to export, and how.

    Attributes:
        dtypes: The variants to write; the first becomes the default. Those to choose from, where one is chosen.
        prefer: What the choice of one goes by; None to write all.
        target: The processor that quantized variants are for.
        trace: How the fp32 graphs are traced.
        verify: Whether to measure parity.
        calibration: The file that quantized variants are measured on; None for the built-in texts.
        tolerance: What a quantized variant may lose.
        budget: Seconds that the repair of variants may take, all together; of an export that chooses all that it
            measures.
        force: Whether to write a bundle that misses a bound.
        repairs_for_speed: Whether a repair raises layers to what takes the least time; or the fewest bytes.
        remeasure: Whether to make and measure again what is cached.
        for_report: Whether to write what only a report shows among the measurements, too.
        probes_from_data: Whether probes are inputs of the calibration file.
        prover: The command that runs Python on the processor that variants are for; none where they are not proved.
        cache_dtype: What quantized variants of a decoder keep keys and values in.
    """

    dtypes: tuple[str, ...]
    prefer: str | None
    target: Target
    trace: TraceOptions
    verify: bool
    calibration: Path | None
    tolerance: Tolerance
    budget: float
    force: bool
    repairs_for_speed: bool
    remeasure: bool
    for_report: bool
    probes_from_data: bool
    prover: tuple[str, ...]
    cache_dtype: str

    @property
    def times_requests(self) -> bool:
        """Whether the time of requests is measured: a report shows it, and variants run on the processor here."""
        return self.for_report and self.verify and self.target.name in CPU_TARGETS

    @property
    def last_stages(self) -> int:
        """How many stages follow once all variants are measured and repaired: choosing, timing, writing, proving."""
        return (self.prefer is not None) + self.times_requests + 1 + bool(self.prover)


def export(
    model: str | os.PathLike[str] | PreTrainedModel,
    output: str | os.PathLike[str],
    *,
    task: str | None = None,
    dtypes: Sequence[str] | str = ("fp32",),
    tokenizer: str | os.PathLike[str] | PreTrainedTokenizerBase | None = None,
    base: str | os.PathLike[str] | None = None,
    revision: str | None = None,
    opset: int | None = None,
    calibration: str | os.PathLike[str] | None = None,
    max_drop: float | None = None,
    budget: float | None = None,
    output_hidden_states: bool = False,
    output_attentions: bool = False,
    output_pooler: bool = False,
    target: str = "this",
    kv_cache_dtype: str = "fp32",
    prefer: str = "speed",
    verify: bool = True,
    force: bool = False,
    remeasure: bool = False,
    for_report: bool = False,
    probes_from_data: bool = False,
    prove_on: str | None = None,
    overwrite: bool = False,
    allow_pickle: bool = False,
    trust_remote_code: bool = False,
    hash_seed: int | None = None,
    progress: bool | None = None,
) -> Bundle:
    """Export a fine-tuned checkpoint to a bundle.

    While it runs, what the process writes to standard output and standard error goes to a log file, which an error
    message points to.

    Args:
        model: Hub id, directory, or a loaded model (which is copied, not changed). An adapter of PEFT is merged into
            its base. A file of weights, e.g. ``model.safetensors``, needs `base`.
        output: The directory to write; it must not exist, its parent must.
        task: Name of the task; by default found from the checkpoint's architecture.
        dtypes: The variants to write, e.g. ``("fp32", "int8")``; the first becomes the bundle's default. ``"auto"``
            tries all that suit the target, and writes the best.
        tokenizer: A loaded tokenizer, its directory or its Hub id; needed with a loaded model.
        base: Hub id or directory of the model that an adapter is merged into, by default the one that the adapter
            names; or of that whose config and tokenizer go with a file of weights.
        revision: Branch, tag or commit of a Hub id; the commit is written into the manifest.
        opset: ONNX opset; by default the tracer's own choice.
        calibration: A file that recipes are calibrated with, and quantized variants measured on, each input for one of
            the two where there are enough: text, CSV, TSV, JSONL or CoNLL, with or without the right answers; by
            default built-in texts.
        max_drop: What a quantized variant may lose against fp32. With the right answers: points of the task's own
            metric (accuracy, F1), 0.5 by default. Without: how many decisions of a hundred may be others, 1 by
            default; for embeddings how far the mean cosine may be from 1, in hundredths; for generation how many
            percent perplexity may rise.
        budget: Seconds that the repair of variants that miss may take, 300 by default: their most costly layers go up
            in precision until they pass. With ``dtypes="auto"`` it is for all that is measured, and each variant is
            measured on no more inputs than decide.
        output_hidden_states: Add the embeddings' and every layer's hidden states to the graph's outputs, as
            ``hidden_states.0`` and so on.
        output_attentions: Add every layer's attention weights, as ``attentions.0`` and so on.
        output_pooler: Add ``pooler_output``, where the task's model returns one.
        target: What the variants are for: ``"avx2"``, ``"avx512"``, ``"vnni"``, ``"arm64"``, ``"this"`` machine's
            processor, or ``"cuda"``, where decoders' attention is in operators that have CUDA kernels in fp32 too; or
            ``"openvino"``, where variants are measured on that engine.
        kv_cache_dtype: What quantized variants of a decoder-only model keep keys and values in: ``"fp32"``, or
            ``"int8"`` for a quarter of the memory (see docs/reference/generation.md).
        prefer: What ``dtypes="auto"`` chooses: the best for ``"speed"``, ``"size"`` or ``"quality"`` of those that
            pass, measured on this machine. All that was measured goes into the manifest. With ``"speed"`` a repair
            raises layers to the precisions that take the least time here, where the target runs here; else to those
            that take the fewest bytes.
        verify: Whether to compare every variant with its reference; False leaves the manifest's parity empty.
        force: Write the bundle even if a comparison fails; the manifest says so.
        remeasure: Make and measure again what an earlier export cached (see docs/reference/cache.md).
        for_report: Write what only a report shows into ``edgepipe_report.json``: where the time of a request goes on
            this machine, and those texts of `calibration` that variants decide otherwise. By default the numbers of the
            texts stand there, as a bundle is passed on, and two exports are the same byte for byte.
        probes_from_data: Choose the bundle's probes (see docs/reference/probes.md) among the inputs of `calibration`,
            which are then in the bundle. By default they are built-in texts, as a bundle is passed on.
        prove_on: A processor, e.g. ``"arm64"``, that variants are checked on before they are written, by the command in
            the environment variable ``EDGEPIPE_PROVE_ON_ARM64`` (see docs/how-to/boards.md).
        overwrite: Replace a bundle that exists at `output`, once the new one is complete.
        allow_pickle: Load pickled weights where there are no safetensors; that runs what their author put in.
        trust_remote_code: Run Python files that come with the checkpoint.
        hash_seed: What Reformer's hashes are drawn with, in place of the config's ``hash_seed``; where neither is
            given, transformers draws others at every call. It is written into the bundle's config.json, and
            :func:`verify` has PyTorch draw with it.
        progress: Whether to show stages on standard error: as a bar on a terminal, as lines elsewhere. By default only
            on a terminal.

    Returns:
        The bundle that was written.

    Raises:
        CheckpointError: the checkpoint cannot be loaded, lacks weights, or needs a permission that was not given.
        DependencyError: a package of the exporter is missing.
        DownloadError: the Hub did not give the checkpoint.
        ExportError: the output exists or cannot be written, or a stage failed.
        InputError: an argument has a value that cannot be used.
        ParityError: a variant misses its bound. The error's ``bundle`` is the one that was written with the variants
            that passed. It is None where nothing was written: fp32 is not what PyTorch gives, or none passed.
        TaskError: the task is unknown, does not fit the checkpoint, or cannot be found.
    """
    require_packages()
    if hash_seed is not None:
        check_whole("hash_seed", hash_seed, 0)
    request = Request(model, task, tokenizer, revision, allow_pickle, trust_remote_code, base, hash_seed)
    processor = find_target(target)
    chosen = dtypes in (AUTO, [AUTO], (AUTO,))
    if chosen and not verify:
        raise InputError('dtypes="auto" chooses by what is measured; leave verify=False (--no-verify) out')
    if chosen and target == "cuda":
        raise InputError('dtypes="auto" measures on this processor and cannot choose for CUDA; name them, e.g. "fp16"')
    session = SessionConfig(processor.device)
    engine_for(session).check_device(session)
    check_preference(prefer)
    if probes_from_data and calibration is None:
        raise InputError("probes_from_data (--probes-from-data) takes probes of the data: give calibration= too")
    layer_outputs = {"hidden_states": output_hidden_states, "attentions": output_attentions}
    named = () if chosen else check_dtypes(dtypes, processor)
    options = ExportOptions(
        named,
        prefer if chosen else None,
        processor,
        TraceOptions(
            _check_opset(opset),
            tuple(name for name, wanted in layer_outputs.items() if wanted),
            output_pooler,
            processor.standard_attention,
        ),
        verify,
        check_path(calibration),
        Tolerance.from_max_drop(max_drop),
        check_budget(budget),
        force,
        prefer == "speed",
        remeasure,
        for_report,
        probes_from_data,
        find_prover(prove_on),
        check_cache_dtype(kv_cache_dtype, named, processor),
    )
    path = Path(os.path.abspath(output))
    check_destination(path, overwrite)
    with (
        convert_panics("the checkpoint"),
        deliver_interrupts() as interrupts,
        Progress(progress) as stages,
        log_to_file(lambda: stages.current),
        write_atomically(path, overwrite=overwrite) as folder,
    ):
        left_out = _export(request, options, folder, stages)
        interrupts.raise_lost()  # before the bundle takes its place
    bundle = Bundle.load(path)
    if left_out is not None:
        left_out.bundle = bundle
        raise left_out
    return bundle


def _export(request: Request, options: ExportOptions, folder: Path, stages: Progress) -> ParityError | None:
    """Go through the stages; the error to end with, where some wanted variants are not written and others are."""
    busy = foreign_load() if options.prefer is not None or options.times_requests else None
    with stages.stage("resolve"):
        checkpoint = resolve(request)
    if busy is not None:
        average, processors = busy
        stages.note(
            "machine",
            f"busy with other programs: load average {average:.1f}, {processors} processors; times that are measured "
            "now may be wrong",
        )
    task = checkpoint.task
    if options.prefer is not None:
        options = replace(options, dtypes=list_candidates(options.target, generates=task.generates))
    quantized = [dtype for dtype in options.dtypes if dtype != FP32]
    stages.expect(2 + len(quantized) + (options.cache_dtype == INT8) + options.verify + options.last_stages)
    with stages.stage("load"):
        from edgepipe_export.checkpoint.architectures import require_exportable
        from edgepipe_export.checkpoint.limits import find_limits
        from edgepipe_export.checkpoint.load import load
        from edgepipe_export.checkpoint.model_inputs import tokens_without_embedding
        from edgepipe_export.checkpoint.patches.reformer import find_hashing
        from edgepipe_export.evaluation.comparison import calibration_batches, load_dataset, scale_cache

        loaded = load(checkpoint)
        if (seed := request.hash_seed) is not None and not find_hashing(loaded.model):
            kind = type(loaded.model).__name__
            raise InputError(f"hash_seed (--hash-seed) is {seed}, and {kind} hashes no tokens: leave it out")
        require_exportable(loaded.model)
        if (activation := find_activation(checkpoint.directory, loaded.model.config.to_dict())) is not None:
            function, option = activation
            stages.note(
                "scores",
                f"CrossEncoder.predict applies {function} to the logits, and text-classification what transformers' "
                f'pipeline does; ask with function_to_apply="{option}" for equal scores',
            )
        if rounds_activations(read_weights_config(checkpoint)):
            stages.note(
                "weights",
                "whoever quantized this checkpoint rounds activations too while a model runs; here its weights alone "
                "are rounded, and results are those of the dequantized model",
            )
        if beyond := tokens_without_embedding(loaded.tokenizer, loaded.model):
            stages.note(
                "tokens",
                f"the model has no embeddings for {len(beyond)} tokens of its tokenizer ({list_some(beyond)}): a text "
                "with one of them fails, as in transformers",
            )
        given = load_dataset(options.calibration, loaded)
        limits = find_limits(loaded.model, generates=task.generates)
    with stages.stage("trace"):
        names, recipe = _trace(loaded, options, folder)
    # The others are quantized from fp32 and compared with it, so it is there until the end, wanted or not.
    manifest = _make_manifest(loaded, limits, names, recipe, folder, options.target)
    data = _prepare_data(loaded, given, limits.source.tokens, options, folder)
    root = cache_folder()
    cache = Cache()
    if root is not None:
        cache = Cache(root, fingerprint(folder, manifest, options.target, given), refresh=options.remeasure)
    workspace = Workspace(folder, manifest, names, options.target, cache, calibrated=data.describe())
    if any(map(workspace.calibrates, quantized)):
        workspace.batches = calibration_batches(workspace.bundle, task, data.calibrated)
    if options.cache_dtype == INT8:
        with stages.stage("scale cache"):
            workspace.cache_scales = scale_cache(workspace.bundle, data.calibrated)
    try:
        for dtype in quantized:
            with stages.stage(f"quantize {dtype}"):
                workspace.make(dtype)
        if options.verify:
            if data.warning is not None:
                stages.note("data", data.warning)
            dtypes, left_out = _evaluate(workspace, loaded, data, options, stages)
        else:
            dtypes, left_out = leave_out(options.dtypes, workspace.failed)
    finally:
        cache.prune()
        if cache.hits:
            stages.note("reused", f"{cache.hits} of {cache.hits + cache.misses} measurements and graphs")
    unnamed = [dtype for dtype in dtypes if not is_in_transformers_js(dtype)]
    if unnamed:
        stages.note(
            "write",
            f"transformers.js has no name for {', '.join(unnamed)}, and takes another variant for it without a word; "
            "see docs/how-to/node-and-browser.md",
        )
    with stages.stage("write"):
        chosen = given if options.probes_from_data else None
        _finish(workspace, dtypes, read_source_card(checkpoint.directory), options.target.device, chosen)
    if options.prover:
        with stages.stage("prove"):
            place, failed = prove_variants(folder, options.prover, force=options.force)
        for dtype, cause in failed.items():
            stages.note("prove", f"{dtype} does not give on {place} what it gives here: {cause}")
    elif not options.target.computes_here and options.target.name in CPU_TARGETS:
        stages.note(
            "prove",
            f"variants are for {options.target.name}, and were measured on this processor, which has other kernels; "
            "run edgepipe check on the device, or pass prove_on (--prove-on)",
        )
    return left_out


def _prepare_data(
    loaded: LoadedCheckpoint, given: Dataset | None, limit: int | None, options: ExportOptions, folder: Path
) -> Split:
    """What recipes are calibrated with, and what variants are measured on; all where no recipe is calibrated."""
    from edgepipe_export.evaluation.comparison import prepare_dataset

    task = loaded.checkpoint.task
    data = prepare_dataset(task, Tokenizer.from_pretrained(folder), limit, given)
    if options.prefer is not None:
        data = shuffle(data)  # what decides may be fewer than all
    fitted = options.dtypes if options.cache_dtype == INT8 or not task.generates else ()
    if not any(dtype != FP32 and load_recipe(dtype).uses_batches for dtype in fitted):
        return measure_all(data)
    return split(data, fewest_to_measure(gold=data.gold is not None))


def _evaluate(
    workspace: Workspace, loaded: LoadedCheckpoint, data: Split, options: ExportOptions, stages: Progress
) -> tuple[tuple[str, ...], ParityError | None]:
    """Measure all variants, repair those that miss their bound, and choose one if that is wanted.

    Returns:
        The variants to write, and the error about those that were wanted and are left out.
    """
    from edgepipe_export.evaluation.checks import NOT_COMPARED_BEYOND
    from edgepipe_export.evaluation.comparison import make_comparison

    chooses = options.prefer is not None
    begin = time.monotonic()
    with stages.stage("verify"):
        steps = Steps()
        session = SessionConfig(options.target.device)
        comparison = make_comparison(
            workspace.bundle, loaded, loaded.checkpoint.task, data=data, session=session, steps=steps
        )
        evaluator = Evaluator(
            workspace,
            comparison,
            data,
            options.tolerance,
            reference=hash_reference(loaded),
            steps=steps,
            for_report=options.for_report,
            device=options.target.device,
        )
        evaluator.measure(stages.step, budget=_MEASURED * options.budget if chooses else None)
    beyond = [check.figures.get(NOT_COMPARED_BEYOND) for check in evaluator.measured[FP32].checks]
    for length in filter(None, beyond):
        stages.note(
            "verify", f"longer texts than {length:.0f} tokens were not compared; the model treats them otherwise"
        )
    # Where nothing is chosen the budget is for repairs alone.
    repaired = begin + _REPAIRED * options.budget if chooses else time.monotonic() + options.budget
    _repair(evaluator, options, repaired, stages)
    dtypes: tuple[str, ...]
    if options.prefer is not None:
        dtypes = add_stored([_choose(evaluator, options.prefer, begin + options.budget, stages)])
        took = time.monotonic() - begin
        stages.note(
            "choose", f"measuring took {took:.0f} s of a budget of {options.budget:.0f} s: {evaluator.inputs_used}"
        )
    else:
        dtypes = evaluator.select(options.dtypes, force=options.force)
    for check in evaluator.find_chances(dtypes):
        more = "time (budget=, --budget)" if check.stopped else "inputs (calibration=, --calibration)"
        stages.note(
            "verify",
            f"{check.dtype}: {check.deciding_figure}; on {check.compared} inputs that may be chance, so the bound "
            f"counts as held; give more {more} to know",
        )
    if options.times_requests:
        with stages.stage("time", undisturbed=True):
            evaluator.time_requests(dtypes, stages.step)
    evaluator.record(force=options.force)
    return dtypes, evaluator.left_out


def _repair(evaluator: Evaluator, options: ExportOptions, deadline: float, stages: Progress) -> None:
    """Repair the variants that miss their bound, all with as much of the time that is left."""
    repairable = () if options.force else evaluator.repairable
    stages.expect(len(repairable) + options.last_stages)
    weighs_time = options.repairs_for_speed and options.target.runs_here
    if options.repairs_for_speed and not weighs_time and any(len(load_recipe(name).mixes) > 1 for name in repairable):
        stages.note(
            "repair",
            f"times of {options.target.name} cannot be measured on this machine: layers go up to the precision that "
            "takes the fewest bytes, as with --prefer size",
        )
    for waiting, dtype in zip(range(len(repairable), 0, -1), repairable, strict=True):
        with stages.stage(f"repair {dtype}"):
            left = max(0.0, deadline - time.monotonic()) / waiting
            evaluator.repair(dtype, left, stages.step, on_all_inputs=options.prefer is None, weighs_time=weighs_time)
        if dtype in evaluator.weighed:
            times, counts = evaluator.weighed[dtype]
            stages.note("repair", f"with all products an input takes {times}; layers of {dtype} that went up: {counts}")
    if evaluator.unfinished:
        stages.note(
            "repair",
            f"the time was over before the fewest layers were found for {', '.join(evaluator.unfinished)}; more layers "
            "than need be are in higher precision, which costs speed; give it more (budget=, --budget)",
        )


def _choose(evaluator: Evaluator, prefer: str, deadline: float, stages: Progress) -> str:
    """Choose the best variant; the machine has to be quiet meanwhile."""
    with stages.stage("choose", undisturbed=True):
        chosen = evaluator.choose(prefer, stages.step, deadline=deadline)
    if evaluator.undecided:
        stages.note(
            "choose",
            f"too noisy a machine to tell which is fastest of {', '.join(evaluator.undecided)}; of these the smallest "
            "is written; try again when quiet",
        )
    return chosen


def _trace(loaded: LoadedCheckpoint, options: ExportOptions, folder: Path) -> tuple[tuple[str, ...], Mapping[str, Any]]:
    """Write the fp32 graphs and what goes with them; the graphs' names, and their recipe."""
    from edgepipe_export.checkpoint.sentence_transformers import write_sentence_files
    from edgepipe_export.checkpoint.tokenizer_files import declare_added_tokens, write_tokenizer
    from edgepipe_export.tracing.encoder import count_logits
    from edgepipe_export.tracing.serialization import save_graph
    from edgepipe_export.tracing.trace import trace_graphs

    write_tokenizer(loaded.tokenizer, folder)
    write_config(loaded.model, folder)
    if loaded.checkpoint.task.generates:
        write_generation_config(loaded.model, folder)
        if not loaded.model.config.is_encoder_decoder:
            declare_added_tokens(loaded.tokenizer, folder)
    write_sentence_files(loaded.checkpoint, folder)
    traced = trace_graphs(loaded, options.trace)
    if loaded.checkpoint.task.has_labels:
        _require_labels(loaded, count_logits(traced.graphs[MODEL]))
    for name, graph in traced.graphs.items():
        path = graph_path(folder, FP32, name)
        path.parent.mkdir(exist_ok=True)
        save_graph(graph, path)
    return tuple(traced.graphs), traced.recipe


def _require_labels(loaded: LoadedCheckpoint, logits: int | None) -> None:
    """Refuse a head whose logits have no label each; `logits` is None where the graph does not say how many."""
    if logits is None:
        return
    try:
        check_labels(read_labels(loaded.model.config.to_dict()), logits)
    except BundleError as error:
        raise CheckpointError(f"{loaded.checkpoint.name}: {error}") from error


def _make_manifest(
    loaded: LoadedCheckpoint,
    limits: Limits,
    names: tuple[str, ...],
    recipe: Mapping[str, Any],
    folder: Path,
    target: Target,
) -> Manifest:
    checkpoint = loaded.checkpoint
    return Manifest(
        task=checkpoint.task.name,
        source=Source(
            checkpoint.name,
            checkpoint.revision,
            type(loaded.model).__name__,
            checkpoint.base_name,
            checkpoint.base_revision,
        ),
        versions=package_versions(),
        machine=machine_name(),
        max_length=limits.source.tokens,
        max_length_source=limits.source.found,
        max_target_length=None if limits.target is None else limits.target.tokens,
        labels=name_labels(read_labels(loaded.model.config.to_dict()))
        if checkpoint.task.heads[0].endswith("Classification")
        else (),
        default_dtype=FP32,
        variants={FP32: Variant(describe_variant(folder, FP32, names), recipe)},
        files=describe_shared_files(folder),
        target=target.name,
    )


def _finish(
    workspace: Workspace, dtypes: tuple[str, ...], original: SourceCard, device: str | None, data: Dataset | None
) -> None:
    """Write the probes, of the data where there are some, the manifest and the model card."""
    from edgepipe_export.probes.recording import write_probes

    write_probes(workspace.folder, workspace.bundle, dtypes, device, data)
    workspace.name_variants(dtypes)
    unwanted = [dtype for dtype in workspace.manifest.variants if dtype not in dtypes]
    variants = workspace.manifest.variants
    workspace.record(
        replace(
            workspace.manifest,
            default_dtype=dtypes[0],
            variants={dtype: variants[dtype] for dtype in (*dtypes, *unwanted)},
        )
    )
    workspace.discard(unwanted)
    (workspace.folder / "README.md").write_text(render_model_card(workspace.manifest, original), encoding="utf-8")


def _check_opset(opset: int | None) -> int | None:
    if opset is not None and not (is_whole(opset, 18) and opset <= 23):
        raise InputError(f"opset must be from 18 to 23, got {opset!r}")
    return opset
