"""Which variant of a bundle runs where."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from edgepipe.arguments import is_whole
from edgepipe.backend.engines import create_session, device_profile, engine_for
from edgepipe.backend.machine import saturates, this_processor
from edgepipe.backend.session import DeviceProfile, GraphTimes, Session, SessionConfig
from edgepipe.bundle.directory import Bundle
from edgepipe.bundle.layout import INT8_ACCURACY_LEVEL, MODEL
from edgepipe.bundle.manifest import Manifest
from edgepipe.errors import DeviceError, EdgepipeError, InputError, KernelError
from edgepipe.models import default_variant
from edgepipe.models.default_variant import EXACT, DefaultChoice, choose_default, find_known_failure, passed_gate
from edgepipe.models.memory_check import check_memory, fits_memory

# What a recipe calls a cache in 8 bits.
_INT8 = "int8"

# What torch calls the precisions that variants have.
_TORCH_NAMES = {"float32": "fp32", "float": "fp32", "float16": "fp16", "half": "fp16", "bfloat16": "bf16"}


def variant_name(dtype: Any) -> str | None:
    """The variant that is meant by a name of ours, a dtype of torch or its name; None by None and "auto"."""
    if dtype is None or (isinstance(dtype, str) and dtype == "auto"):
        return None
    name = str(dtype).removeprefix("torch.")
    return _TORCH_NAMES.get(name, name)


def preferred_variants(session: SessionConfig | None) -> tuple[str, ...]:
    """The variants to take on a device, the best first; none where the bundle's default is taken."""
    return device_profile(session).preferred_variants


def stored_variant(dtype: str, session: SessionConfig | None) -> str:
    """The variant whose files are read: another one where the device computes its graph in another precision."""
    return device_profile(session).precisions.get(dtype, dtype)


def open_bundle(
    path: str | os.PathLike[str],
    dtype: Any,
    session: SessionConfig,
    *,
    revision: str | None = None,
    local_files_only: bool = False,
    token: str | bool | None = None,
) -> Bundle:
    """Open a bundle for a session, whose device is looked for before anything is downloaded.

    Args:
        path: Its directory or Hub id; of the latter only one variant is downloaded.
        dtype: That variant (see :func:`variant_name`); None for the device's own choice.
        session: Where it runs.
        revision: Branch, tag or commit, for a Hub id.
        local_files_only: Do not use the network.
        token: For a private repository; None for the one that is saved.

    Raises:
        BundleError: the bundle is damaged, or is none.
        DependencyError: onnxruntime is missing.
        DeviceError: the device or a provider cannot be used here.
        DownloadError: the Hub id could not be downloaded.
    """
    preferred = preferred_variants(session)
    engine_for(session).check_device(session)
    name = variant_name(dtype)

    def choose(manifest: Manifest) -> str:
        own, orders = manifest.default_dtype, device_profile(session).variant_orders
        # Nothing is downloaded for its speed alone, so nothing fits.
        found = choose_default(manifest, own, manifest.variants, this_processor(), orders, fits=lambda _: False)
        return _say_replaced(os.fspath(path), own, found)

    return Bundle.load(
        path,
        dtype=None if name is None else stored_variant(name, session),
        preferred=preferred,
        choose=choose,
        revision=revision,
        local_files_only=local_files_only,
        token=token,
    )


def choose_variant(bundle: Bundle, dtype: Any, session: SessionConfig | None) -> str:
    """The variant to load.

    Args:
        bundle: The bundle.
        dtype: The user's choice (see :func:`variant_name`); None for the device's: on CUDA fp16, else fp32, on OpenVINO
            fp32 or the bundle's default of a precision that its graph is computed in, on a processor the bundle's
            default or what takes its place there (:mod:`~edgepipe.models.default_variant`).
        session: Where it runs.

    Raises:
        DeviceError: it has no kernels on that device, and would run slowly from one to the other.

    Warns of a variant whose results on that device nobody has measured, and of one that takes the default's place.
    """
    dtype = variant_name(dtype)
    device = device_profile(session)
    if not device.preferred_variants:
        own: str = _choose_on_processor(bundle, device, session) if dtype is None else dtype
        if device.is_cpu:
            _warn_of_overflow(bundle, own)
        return own
    suitable = [name for name in device.preferred_variants if name in bundle.dtypes]
    chosen = _own_precision(bundle, device, next(iter(suitable), None)) if dtype is None else dtype
    if chosen is None or chosen in device.unsupported_variants:
        names = ", ".join(bundle.dtypes) if chosen is None else chosen
        raise DeviceError(
            f"{bundle.path}: there are no {device.name} kernels for {names}, which would run slower there than on a "
            "processor; "
            + (f"take dtype={suitable[0]!r}" if suitable else "export the checkpoint with --dtype fp16 too")
            + ', or device="cpu"'
        )
    if not device.shares_cache and chosen in bundle.dtypes and bundle.shares_cache(chosen):
        warnings.warn(
            f"{bundle.path}: the attention of {chosen} has no {device.name} kernel in fp32 and runs on the processor, "
            "which is slow; export the checkpoint with --target cuda, or take fp16",
            stacklevel=2,
        )
    if device.is_cpu:
        _warn_of_overflow(bundle, chosen, device.gate)
    is_there = stored_variant(chosen, session) in bundle.dtypes
    if device.gate is not None and is_there and not _was_measured(bundle, chosen, device.gate):
        warnings.warn(
            f"{bundle.path}: nobody has measured {chosen} on {device.name}, which rounds otherwise than onnxruntime: "
            f"edgepipe verify BUNDLE MODEL --device {device.gate} --dtype {chosen} compares it with the checkpoint",
            stacklevel=2,
        )
    return chosen


def _choose_on_processor(bundle: Bundle, device: DeviceProfile, session: SessionConfig | None) -> str:
    """The bundle's default, or what takes its place on this processor."""
    own = bundle.default_dtype
    if bundle.manifest is None or not device.variant_orders:
        return own

    def fits(dtype: str) -> bool:
        return fits_memory(bundle, dtype, session or SessionConfig())

    found = choose_default(bundle.manifest, own, bundle.dtypes, this_processor(), device.variant_orders, fits=fits)
    return _say_replaced(str(bundle.path), own, found)


def _say_replaced(name: str, default: str, choice: DefaultChoice) -> str:
    """The variant that was chosen; where it is not the default, a warning says so."""
    if choice.reason is not None:
        warnings.warn(
            f"{name}: {default}, the bundle's default, {choice.reason}; {choice.dtype} is taken in its place "
            f"(dtype={default!r} takes it all the same)",
            stacklevel=5,
        )
    return choice.dtype


def list_substitutes(bundle: Bundle, session: SessionConfig) -> tuple[str, ...]:
    """The variants to try where the one that would be taken gives wrong results, the fastest first.

    Those that are known to fail on this processor are left out, and those that the exporter's gate refused.
    """
    device = device_profile(session)
    processor = this_processor()
    order = device.preferred_variants or device.variant_orders.get(processor.kind or "", ())
    manifest = bundle.manifest
    if manifest is None:
        return bundle.dtypes
    found = [
        name
        for name in bundle.dtypes
        if (parity := manifest.variants[name].parity) is None or parity.passed
        if not device.variant_orders or find_known_failure(manifest, name, processor) is None
    ]
    return tuple(sorted(found, key=lambda name: order.index(name) if name in order else len(order)))


def reads_prompts_apart(bundle: Bundle, dtype: str, session: SessionConfig | None) -> bool:
    """Whether many tokens at once are read by another form of a variant's graph than one token is.

    Not on processors where sums of integer products overflow: there it is one graph, whose products have their own
    weights.
    """
    config = session or SessionConfig()
    return (
        any(part.get("integer_products") is True for part in default_variant.recipe_parts(_recipe(bundle, dtype)))
        and device_profile(config).integer_products
        and config.session_options is None  # they would have to hold the weights
        and not saturates()
    )


def load_graph(
    bundle: Bundle,
    dtype: str,
    session: SessionConfig | None,
    graph: str = MODEL,
    *,
    capture: bool = False,
    for_steps: bool = False,
) -> Session:
    """Load a graph of a variant; see :func:`~edgepipe.backend.engines.create_session`.

    Args:
        bundle: The bundle.
        dtype: The variant.
        session: Where it runs.
        graph: The name of the graph.
        capture: Whether to record runs.
        for_steps: Whether it reads one token at a time, where that has another form: see :func:`reads_prompts_apart`.

    Raises:
        DependencyError: its cache is in 8 bits, and the engine is too old for that.
        DeviceError: its cache is in 8 bits, and the device has no kernel for that.
        KernelError: the device has no kernel for one of its operators; the message has the variants that can run.
        OutOfMemoryError: its weights need more memory than this process can have.
    """
    located, config = _locate(bundle, dtype, session or SessionConfig(), graph, for_steps=for_steps)
    if bundle.cache_dtype(stored_variant(dtype, session)) == _INT8:
        engine_for(config).check_int8_cache(config, f"{bundle.path}: {dtype}")
    check_memory(bundle, stored_variant(dtype, session), config, located)
    try:
        return create_session(located, config, capture=capture)
    except KernelError as error:
        suitable = [name for name in bundle.dtypes if name != dtype and _starts(bundle, name, session)]
        advice = (
            f"{', '.join(suitable)} can run there (dtype=, --dtype)" if suitable else "no other variant can run there"
        )
        raise KernelError(f"{error}; of {bundle.path} {advice}") from error


def _locate(
    bundle: Bundle, dtype: str, session: SessionConfig, graph: str = MODEL, *, for_steps: bool = False
) -> tuple[Path, SessionConfig]:
    """The file of a variant's graph, and the configuration that it runs with."""
    stored = stored_variant(dtype, session)
    if stored != dtype:
        config = replace(session, precision=dtype)
    else:
        config = replace(
            session,
            rest=_rest(bundle, dtype),
            activation_block=_activation_block(bundle, dtype),
            integer_products=not for_steps and reads_prompts_apart(bundle, dtype, session),
        )
    return bundle.graph(stored, graph), config


def list_nodes(bundle: Bundle, dtype: str, session: SessionConfig) -> dict[str, dict[str, int]]:
    """How many operators of each kind each provider runs of a variant's graphs, all of them together.

    Empty where the engine does not tell: of onnxruntime on a processor or a GPU of NVIDIA's, and of OpenVINO.

    Raises:
        KernelError: the processor would compute what another device was asked for.
    """
    found: dict[str, dict[str, int]] = {}
    for file in bundle.files(stored_variant(dtype, session)):
        if file.suffix == ".onnx":
            placement = create_session(file, session).placement
            for provider, kinds in placement.items():
                own = found.setdefault(provider, {})
                for kind, number in kinds.items():
                    own[kind] = own.get(kind, 0) + number
    return found


def profile_variant(
    bundle: Bundle, dtype: str, session: SessionConfig, feeds: Mapping[str, NDArray[Any]], runs: int
) -> GraphTimes:
    """What the operators of a variant's graph take; see :class:`~edgepipe.backend.session.Engine`.

    Raises:
        InputError: the engine has no profiler.
    """
    profile = engine_for(session).profile
    if profile is None:
        raise InputError(f"{session.device} has no profiler: leave --profile out")
    return profile(*_locate(bundle, dtype, session), feeds, runs)


def _own_precision(bundle: Bundle, device: DeviceProfile, stored: str | None) -> str | None:
    """What the graph of a variant is computed in where nobody says: the bundle's default, if that is a precision."""
    own = "" if bundle.manifest is None else bundle.manifest.default_dtype
    return own if stored is not None and device.precisions.get(own) == stored else stored


def _was_measured(bundle: Bundle, dtype: str, gate: str) -> bool:
    """Whether a variant passed the gate on a device, or needs no gate."""
    return dtype == EXACT if bundle.manifest is None else passed_gate(bundle.manifest, dtype, gate)


def _starts(bundle: Bundle, dtype: str, session: SessionConfig | None) -> bool:
    try:
        for file in bundle.files(dtype):
            if file.suffix == ".onnx":
                create_session(file, session)
    except EdgepipeError:
        return False
    return True


def _warn_of_overflow(bundle: Bundle, dtype: str, engine: str | None = None) -> None:
    """Say that a variant is for processors that add 8-bit products in 32 bits, where this one does not."""
    if not uses_8_bits(bundle, dtype):
        return
    if not saturates():
        return
    exact = [name for name in bundle.dtypes if not uses_8_bits(bundle, name)]
    warnings.warn(
        f"{bundle.path}: {dtype} was made for another processor: its weights use all of 8 bits, and sums of such "
        "products overflow on this one, which has no VNNI, so that results may be wrong; "
        + (f"{', '.join(exact)} can be trusted here, or " if exact else "")
        + f"export the checkpoint with --target {'avx2' if engine is None else f'{engine} on a processor like it'}",
        stacklevel=3,
    )


def _rest(bundle: Bundle, dtype: str) -> str | None:
    """What the exporter measured the operators in that a variant does not quantize; None for fp32."""
    rest = _recipe(bundle, dtype).get("rest")
    return rest if isinstance(rest, str) else None


def _activation_block(bundle: Bundle, dtype: str) -> int | None:
    """The blocks that a variant's products round their activations in; None where these stay in fp32."""
    recipe = _recipe(bundle, dtype)
    size = recipe.get("block_size")
    return size if is_whole(size, 1) and recipe.get("accuracy_level") == INT8_ACCURACY_LEVEL else None


def _recipe(bundle: Bundle, dtype: str) -> Mapping[str, Any]:
    variant = None if bundle.manifest is None else bundle.manifest.variants.get(dtype)
    return {} if variant is None else variant.recipe


def uses_8_bits(bundle: Bundle, dtype: str) -> bool:
    """Whether a variant multiplies integers without room for their sum; of others' variants that is not known."""
    if bundle.manifest is None or dtype not in bundle.dtypes:
        return False
    return default_variant.uses_8_bits(bundle.manifest, dtype)
