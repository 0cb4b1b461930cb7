"""A bundle's graphs for generation, whatever their layout, as one decoder."""

from __future__ import annotations

from edgepipe.backend.session import SessionConfig
from edgepipe.bundle.directory import Bundle
from edgepipe.errors import InputError
from edgepipe.models.decoder.causal import CausalGraph
from edgepipe.models.decoder.recurrent import RecurrentGraph
from edgepipe.models.decoder.seq2seq import EncoderDecoderGraphs


def load_decoder(
    bundle: Bundle, dtype: str | None = None, session: SessionConfig | None = None
) -> CausalGraph | RecurrentGraph | EncoderDecoderGraphs:
    """Load a variant of a bundle for generation.

    Args:
        bundle: The bundle.
        dtype: The variant; by default the manifest's, on CUDA fp16 or else fp32.
        session: Where and how its graphs run.

    Raises:
        BundleError: a graph is missing, damaged, or declares inputs that are not known here.
        DeviceError: the device cannot be used.
        InputError: the session has buckets.
        VariantError: the bundle has no such variant.
    """
    if session is not None and session.buckets:
        raise InputError(
            f"buckets={list(session.buckets)!r} are for models that read; {bundle.path} writes, and its rows grow from "
            "step to step: leave them out"
        )
    if bundle.config.get("is_encoder_decoder"):
        return EncoderDecoderGraphs(bundle, dtype, session)
    if bundle.config.get("model_type") == "xlnet":
        return RecurrentGraph(bundle, dtype, session)
    return CausalGraph(bundle, dtype, session)
