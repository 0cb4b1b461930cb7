"""Parity of graphs that generate: scores step by step, and the tokens of a greedy search; texts foretold."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from edgepipe import Bundle, Tokenizer
from edgepipe.errors import InputError
from edgepipe.generation.config_sources import generation_config
from edgepipe.generation.generate import generate
from edgepipe.models.decoder.decoder_loading import load_decoder
from edgepipe_export.calibration.texts import sentences
from edgepipe_export.evaluation.comparison import PYTORCH, spread_out
from edgepipe_export.evaluation.differences import ABSOLUTE, RELATIVE, compare_tensors, distance
from edgepipe_export.evaluation.parity import Check
from edgepipe_export.evaluation.perplexity import Foretold, check_foretelling
from edgepipe_export.quantization.recipe import FP32

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgepipe.backend.session import SessionConfig
    from edgepipe_export.checkpoint.load import Loaded
    from edgepipe_export.evaluation.tolerance import Tolerance

    Ids = NDArray[np.int64]

# Rows and tokens of random prompts; of several rows all but the first are padded.
_SHAPES = ((1, 1), (1, 2), (3, 7), (2, 31))
_STEPS = 3

# How many texts the greedy search is tried on, how many of their tokens are the prompt, and how many follow.
_SEARCHES = 12
_PROMPT = 8
_WRITTEN = 20

# How many tokens of a text perplexity is measured on.
_LONGEST = 64

# How many texts show what a single layer costs.
_FEW = 12


class Writer(Protocol):
    """What scores tokens and writes them.

    Attributes:
        name: What reports call it.
    """

    name: str

    def steps(self, ids: Ids, mask: Ids, following: Ids) -> list[NDArray[np.float32]]:
        """The scores after the prompt, and after each of the tokens that follow, float32[rows, vocabulary] each.

        Args:
            ids: int64[rows, length], the prompt, or the source of an encoder-decoder.
            mask: int64[rows, length].
            following: int64[rows, steps]; those of an encoder-decoder begin with what its decoder starts with.
        """
        ...

    def scores(self, ids: Ids, target: Ids | None) -> NDArray[np.float32]:
        """The scores after every token of one text, or of what an encoder-decoder makes of it.

        Args:
            ids: int64[length].
            target: int64[target], what the decoder reads; None for decoder-only models.

        Returns:
            float32[length or target, vocabulary].
        """
        ...

    def written(self, ids: Ids, count: int) -> list[int]:
        """`count` new tokens of a greedy search, or fewer where the text ends."""
        ...


class PyTorchWriter:
    """The checkpoint in PyTorch: fp32, eager.

    Every score of a decoder is computed from the whole text, without a cache. Those of an encoder-decoder are computed
    step by step with one, as transformers' ``generate`` does: without, the positions of some begin elsewhere.
    """

    name = PYTORCH

    def __init__(self, loaded: Loaded) -> None:
        self._model = loaded.model
        self._is_encoder_decoder = bool(loaded.model.config.is_encoder_decoder)

    def steps(self, ids: Ids, mask: Ids, following: Ids) -> list[NDArray[np.float32]]:
        """See :class:`Writer`."""
        if self._is_encoder_decoder:
            scores = self._target(ids, mask, following)
            return [scores[:, step] for step in range(following.shape[1])]
        whole = np.concatenate([ids, following], axis=1)
        seen = np.concatenate([mask, np.ones_like(following)], axis=1)
        scores = self._decoder(whole, seen)
        return [scores[:, step] for step in range(ids.shape[1] - 1, whole.shape[1])]

    def scores(self, ids: Ids, target: Ids | None) -> NDArray[np.float32]:
        """See :class:`Writer`."""
        if target is None:
            found = self._decoder(ids[None], np.ones_like(ids[None]))
        else:
            found = self._target(ids[None], np.ones_like(ids[None]), target[None])
        scores: NDArray[np.float32] = found[0]
        return scores

    def _target(self, ids: Ids, mask: Ids, target: Ids) -> NDArray[np.float32]:
        import torch

        past, each = None, []
        source = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}
        with torch.no_grad():
            encoded = self._model.get_encoder()(**source, return_dict=True)
            for token in torch.from_numpy(target).T[:, :, None]:
                result = self._model(
                    encoder_outputs=encoded,
                    attention_mask=source["attention_mask"],
                    decoder_input_ids=token,
                    past_key_values=past,
                    use_cache=True,
                    return_dict=True,
                )
                past = result["past_key_values"]
                each.append(result["logits"].numpy())
        return np.concatenate(each, axis=1)

    def _decoder(self, ids: Ids, mask: Ids) -> NDArray[np.float32]:
        from edgepipe_export.tracing.decoder import takes_position_ids

        positions = np.maximum(mask.cumsum(axis=1) - 1, 0)
        return self._run(
            input_ids=ids,
            attention_mask=mask,
            **({"position_ids": positions} if takes_position_ids(self._model) else {}),
        )

    def _run(self, **inputs: Ids) -> NDArray[np.float32]:
        import torch

        with torch.no_grad():
            result = self._model(**{name: torch.from_numpy(array) for name, array in inputs.items()}, return_dict=True)
        scores: NDArray[np.float32] = result["logits"].numpy()
        return scores

    def written(self, ids: Ids, count: int) -> list[int]:
        """See :class:`Writer`."""
        import torch

        result = self._model.generate(
            torch.from_numpy(ids[None]),
            attention_mask=torch.ones((1, len(ids)), dtype=torch.int64),
            do_sample=False,
            num_beams=1,
            max_new_tokens=count,
        )
        tokens: list[int] = result[0].tolist()
        return tokens if self._is_encoder_decoder else tokens[len(ids) :]


class VariantWriter:
    """One variant of a bundle, in the edgepipe runtime."""

    def __init__(self, bundle: Bundle, dtype: str, tokenizer: Tokenizer, session: SessionConfig | None = None) -> None:
        self.name = dtype
        self._decoder: Any = load_decoder(bundle, dtype, session)
        self._tokenizer = tokenizer

    def steps(self, ids: Ids, mask: Ids, following: Ids) -> list[NDArray[np.float32]]:
        """See :class:`Writer`.

        Of one row a second is made after the first step, as beam search does, and what it gives is returned: what both
        have in common may be held once.
        """
        decoding = self._decoder.begin(ids, mask)
        fed = [following[:, step : step + 1] for step in range(following.shape[1])]
        first, *rest = fed if self._decoder.is_encoder_decoder else [ids, *fed]
        found = [decoding.step(first).copy()]
        rows = np.arange(len(ids)) if len(ids) > 1 else np.zeros(2, np.int64)
        decoding.select(rows)
        found += [decoding.step(tokens[rows])[-len(ids) :].copy() for tokens in rest]
        return found

    def scores(self, ids: Ids, target: Ids | None) -> NDArray[np.float32]:
        """See :class:`Writer`."""
        rows = (ids[None], np.ones_like(ids[None]))
        found = self._decoder.scores(*rows, *([] if target is None else [target[None]]))
        scores: NDArray[np.float32] = found[0]
        return scores

    def written(self, ids: Ids, count: int) -> list[int]:
        """See :class:`Writer`."""
        options = {"do_sample": False, "num_beams": 1, "max_new_tokens": count}
        config = generation_config(self._decoder, {}, options, tokenizer=self._tokenizer)
        found = generate(self._decoder, ids[None], np.ones_like(ids[None]), config, tokenizer=self._tokenizer)
        return found[0][0].token_ids


class GenerationComparison:
    """See :class:`~edgepipe_export.evaluation.comparison.Comparison`.

    Attributes:
        texts: The texts.
        measured: How many they are.
    """

    def __init__(
        self,
        bundle: Bundle,
        loaded: Loaded,
        tokenizer: Tokenizer,
        texts: Sequence[str] | None = None,
        session: SessionConfig | None = None,
    ) -> None:
        self.texts = tuple(sentences() if texts is None else texts)
        self.measured = len(self.texts)
        self._bundle = bundle
        self._session = session
        self._tokenizer = tokenizer
        self._is_encoder_decoder = bool(loaded.model.config.is_encoder_decoder)
        limits = [limit for limit in (bundle.max_length, bundle.max_target_length, _LONGEST) if limit is not None]
        self._longest = min(limits)
        encoded = ((np.array(tokenizer(text)["input_ids"], np.int64)[: self._longest], text) for text in self.texts)
        kept = [(ids, text) for ids, text in encoded if len(ids) > 1]
        if not kept:
            raise InputError("none of the texts has two tokens, so nothing can be foretold; give a longer one")
        self._encoded, self._foretold = [ids for ids, _ in kept], [text for _, text in kept]
        self._references: dict[str, Writer] = {PYTORCH: PyTorchWriter(loaded)}
        self._answers: dict[str, Foretold] = {}
        self._start = _decoder_start(loaded)

    def check(self, dtype: str, reference: str, allowed: Tolerance, bundle: Bundle | None = None) -> list[Check]:
        """See :class:`~edgepipe_export.evaluation.comparison.Comparison`."""
        if dtype != FP32:
            return self.measure(dtype, reference, allowed, bundle)
        expected, got = self._reference(reference), self._writer(dtype, bundle)
        return [self._steps(expected, got), self._searches(expected, got)]

    def measure(self, dtype: str, reference: str, allowed: Tolerance, bundle: Bundle | None = None) -> list[Check]:
        """See :class:`~edgepipe_export.evaluation.comparison.Comparison`."""
        got = self._writer(dtype, bundle)
        return [check_foretelling(self._foretold_by(reference), got, self._foretold, allowed)]

    def steps(self, dtype: str) -> int:
        """See :class:`~edgepipe_export.evaluation.comparison.Comparison`: all of a check is one."""
        return 1

    def distance(self, dtype: str, bundle: Bundle) -> float:
        """See :class:`~edgepipe_export.evaluation.comparison.Comparison`."""
        reference = self._foretold_by(FP32)
        candidate = VariantWriter(bundle, dtype, self._tokenizer, self._session)
        return distance(
            ({"logits": reference.scores(index)}, {"logits": candidate.scores(ids, reference.target(index))})
            for index, ids in enumerate(self._encoded[:_FEW])
        )

    def cost(self, dtype: str, bundle: Bundle) -> float:
        """See :class:`~edgepipe_export.evaluation.comparison.Comparison`; nothing is calibrated."""
        return self.distance(dtype, bundle)

    def timed(self, dtype: str, bundle: Bundle) -> Callable[[], int]:
        """See :class:`~edgepipe_export.evaluation.comparison.Comparison`."""
        writer = VariantWriter(bundle, dtype, self._tokenizer, self._session)
        chosen = [ids[: self._longest - _WRITTEN] for ids in spread_out(self._encoded, len)]
        prompts = [ids for ids in chosen if len(ids)]

        def run() -> int:
            for ids in prompts:
                writer.written(ids, _WRITTEN)
            return len(prompts)

        return run

    def _writer(self, dtype: str, bundle: Bundle | None) -> VariantWriter:
        return VariantWriter(bundle or self._bundle, dtype, self._tokenizer, self._session)

    def _reference(self, name: str) -> Writer:
        if name not in self._references:
            self._references[name] = VariantWriter(self._bundle, name, self._tokenizer, self._session)
        return self._references[name]

    def _foretold_by(self, name: str) -> Foretold:
        if name not in self._answers:
            written = min(_WRITTEN, self._longest - 1) if self._is_encoder_decoder else None
            self._answers[name] = Foretold(self._reference(name), self._encoded, written)
        return self._answers[name]

    def _steps(self, reference: Writer, candidate: Writer) -> Check:
        prompts = list(self._random_prompts())
        pairs = (
            ({"logits": wanted}, {"logits": found})
            for prompt in prompts
            for wanted, found in zip(reference.steps(*prompt), candidate.steps(*prompt), strict=True)
        )
        found = compare_tensors(pairs)
        return Check(
            "tensors, step by step",
            candidate.name,
            reference.name,
            len(prompts),
            found.largest,
            None,
            f"{ABSOLUTE:g} + {RELATIVE:g} of the reference",
            found.close and found.finite,
        )

    def _random_prompts(self) -> Iterator[tuple[Ids, Ids, Ids]]:
        generator = np.random.default_rng(0)
        vocabulary = len(self._tokenizer)
        for rows, length in _SHAPES:
            if length + _STEPS > self._longest:
                continue
            ids = generator.integers(0, vocabulary, (rows, length))
            mask = np.ones_like(ids)
            for row in range(1, rows):  # encoders are padded on the right, decoders on the left
                padding = slice(length - row, None) if self._is_encoder_decoder else slice(0, row)
                mask[row, padding] = 0
            following = generator.integers(0, vocabulary, (rows, _STEPS))
            if self._is_encoder_decoder:
                following[:, 0] = self._start
            yield ids, mask, following

    def _searches(self, reference: Writer, candidate: Writer) -> Check:
        longest = self._longest - (0 if self._is_encoder_decoder else _WRITTEN)
        prompts = [ids[:_PROMPT] for ids in self._encoded[:_SEARCHES] if min(len(ids), _PROMPT) <= longest]
        count = min(_WRITTEN, self._longest - 1)
        wanted = [reference.written(ids, count) for ids in prompts]
        found = [candidate.written(ids, count) for ids in prompts]
        same = [one == other for one, other in zip(wanted, found, strict=True)]
        first = next((index for index, alike in enumerate(same) if not alike), None)
        detail = (
            None if first is None else f"after {prompts[first].tolist()}: {found[first]} instead of {wanted[first]}"
        )
        agreement = sum(same) / len(same) if same else None
        return Check(
            "tokens, greedy search",
            candidate.name,
            reference.name,
            len(prompts),
            {},
            agreement,
            "same tokens",
            first is None,
            detail,
        )


def _decoder_start(loaded: Loaded) -> int:
    options: Any = loaded.model.generation_config
    for name in ("decoder_start_token_id", "bos_token_id"):
        if isinstance(getattr(options, name, None), int):
            return int(getattr(options, name))
    return 0
