"""The comparison of a task that generates: logits step by step, the tokens of a greedy search, and perplexity."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from edgepipe import Bundle, Tokenizer
from edgepipe.errors import InputError
from edgepipe_export.calibration.split import spread_by_length
from edgepipe_export.calibration.texts import sentences
from edgepipe_export.checkpoint.length_changes import plan_crossings
from edgepipe_export.evaluation.checks import PYTORCH, Check, Comparison
from edgepipe_export.evaluation.differences import compare_tensors, distance
from edgepipe_export.evaluation.parity import add_crossings, check_tensors
from edgepipe_export.evaluation.perplexity import ReferenceLogits, check_perplexity
from edgepipe_export.evaluation.predictors import LanguageModel, VariantLanguageModel
from edgepipe_export.evaluation.pytorch_reference import PyTorchLanguageModel
from edgepipe_export.evaluation.tolerances import ABSOLUTE, RELATIVE
from edgepipe_export.quantization.recipe import FP32

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgepipe.backend.session import SessionConfig
    from edgepipe_export.checkpoint.load import LoadedCheckpoint
    from edgepipe_export.evaluation.tolerances import Tolerance

    Ids = NDArray[np.int64]
    _Pair = tuple[Mapping[str, NDArray[Any]], Mapping[str, NDArray[Any]]]

# The name of the check that goes across lengths.
CROSSING = "tensors, across lengths"

# Rows and tokens of random prompts; of several rows all but the first are padded.
_SHAPES = ((1, 1), (1, 2), (3, 7), (2, 31))
_STEPS = 3

# How many texts the greedy search is tried on, how many of their tokens are the prompt, and how many follow.
_SEARCHES = 12
_PROMPT = 8
_GENERATED = 20

# How many tokens of a text perplexity is measured on.
_LONGEST = 64

# What a text is compared on across a length: how many tokens before it, and how many are written. Where texts are long,
# the middle one of three prompts is left out, for it takes long.
_BEFORE, _FOLLOWING = 2, 6
_ALL_PROMPTS = 1024
# The longest length that the decoder of an encoder-decoder is taken across, which goes token by token.
_FARTHEST_TARGET = 256

# How many requests time is measured on, how many tokens they write together, and how many their prompts have, at most.
_TIMED, _WRITTEN, _READ = 8, 160, 2048

# How many texts show what a single layer costs.
_FEW = 12


class GenerationComparison(Comparison):
    """See :class:`~edgepipe_export.evaluation.checks.Comparison`, which says what each method does.

    Attributes:
        texts: The texts.
    """

    def __init__(
        self,
        bundle: Bundle,
        loaded: LoadedCheckpoint,
        tokenizer: Tokenizer,
        texts: Sequence[str] | None = None,
        session: SessionConfig | None = None,
        new_tokens: int | None = None,
    ) -> None:
        """See :func:`~edgepipe_export.evaluation.comparison.make_comparison`.

        Args:
            bundle: The bundle.
            loaded: The checkpoint in PyTorch.
            tokenizer: The bundle's tokenizer.
            texts: The texts; by default the built-in ones.
            session: Where the variants run.
            new_tokens: How many tokens follow a text on average; None where that is not known.
        """
        self.texts = tuple(sentences() if texts is None else texts)
        self._bundle = bundle
        self._session = session
        self._tokenizer = tokenizer
        self._is_encoder_decoder = bool(loaded.model.config.is_encoder_decoder)
        limits = [limit for limit in (bundle.max_length, bundle.max_target_length, _LONGEST) if limit is not None]
        self._longest = min(limits)
        self._config = loaded.model.config.to_dict()
        encoded = ((np.array(tokenizer(text)["input_ids"], np.int64), text) for text in self.texts)
        usable = [(ids, text) for ids, text in encoded if min(len(ids), self._longest) > 1]
        if not usable:
            raise InputError("none of the texts has two tokens, so nothing can be foretold; give a longer one")
        self._whole, self._usable_texts = [ids for ids, _ in usable], [text for _, text in usable]
        self._encoded = [ids[: self._longest] for ids in self._whole]
        self._new_tokens = _GENERATED if new_tokens is None else new_tokens
        self._models: dict[str, LanguageModel] = {PYTORCH: PyTorchLanguageModel(loaded)}
        self._logits: dict[str, ReferenceLogits] = {}
        self._start = _decoder_start(loaded)

    def check_fp32(self, reference: str, bundle: Bundle | None) -> list[Check]:
        """By logits and by tokens."""
        expected, got = self._model(reference), self._load(FP32, bundle)
        return [
            self._check_steps(expected, got),
            self._check_tokens(expected, got),
            *self._check_crossings(expected, got),
        ]

    def measure(
        self,
        dtype: str,
        reference: str,
        tolerance: Tolerance,
        bundle: Bundle | None = None,
        deadline: float | None = None,
    ) -> list[Check]:
        """Any variant by its perplexity."""
        expected, got = self._reference_logits(reference), self._load(dtype, bundle)
        return [check_perplexity(expected, got, self._usable_texts, tolerance, deadline)]

    def count_steps(self, dtype: str) -> int:
        """All of a check is one."""
        return 1

    def distance(self, dtype: str, bundle: Bundle) -> float:
        """On the logits of a few texts."""
        reference, candidate = self._reference_logits(FP32), self._load(dtype, bundle)
        return distance(
            ({"logits": reference.logits(index)}, {"logits": candidate.logits(ids, reference.target(index))})
            for index, ids in enumerate(self._encoded[:_FEW])
        )

    def calibration_distance(self, dtype: str, bundle: Bundle) -> float:
        """The same: nothing is calibrated."""
        return self.distance(dtype, bundle)

    def timed_run(self, dtype: str, bundle: Bundle) -> Callable[[], int]:
        """Greedy searches: prompts as long as the texts are, and as many new tokens as follow them in the data."""
        model = self._load(dtype, bundle)
        prompts, new = self._plan_requests()

        def run() -> int:
            for ids in prompts:
                model.generate(ids, new, least=new)
            return len(prompts)

        return run

    def _plan_requests(self) -> tuple[list[Ids], int]:
        """Prompts, and how many tokens are written behind each: fewer prompts where these, or what follows, are long.

        A prompt has at least half of the tokens that a decoder takes.
        """
        limit, target_limit = self._bundle.max_length, self._bundle.max_target_length
        new, room = self._new_tokens, limit
        if self._is_encoder_decoder:
            new = new if target_limit is None else min(new, max(1, target_limit - 1))
        elif limit is not None:
            new = min(new, max(1, limit // 2))
            room = max(1, limit - new)
        texts = [ids[:room] for ids in self._whole]
        most = min(_WRITTEN // new, _READ * len(texts) // sum(map(len, texts)))
        return spread_by_length(texts, len, max(1, min(_TIMED, most))), new

    def _load(self, dtype: str, bundle: Bundle | None = None) -> VariantLanguageModel:
        return VariantLanguageModel(bundle or self._bundle, dtype, self._tokenizer, self._session)

    def _model(self, name: str) -> LanguageModel:
        if name not in self._models:
            self._models[name] = self._load(name)
        return self._models[name]

    def _reference_logits(self, name: str) -> ReferenceLogits:
        if name not in self._logits:
            generated = min(_GENERATED, self._longest - 1) if self._is_encoder_decoder else None
            self._logits[name] = ReferenceLogits(self._model(name), self._encoded, generated)
        return self._logits[name]

    def _check_steps(self, reference: LanguageModel, candidate: LanguageModel) -> Check:
        prompts = list(self._random_prompts())
        pairs = (
            ({"logits": wanted}, {"logits": found})
            for prompt in prompts
            for wanted, found in zip(reference.step_logits(*prompt), candidate.step_logits(*prompt), strict=True)
        )
        return check_tensors("tensors, step by step", candidate.name, reference.name, len(prompts), pairs)

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

    def _check_crossings(self, reference: LanguageModel, candidate: LanguageModel) -> list[Check]:
        """Across each length at which the model's config changes what it does; no check where there is none."""
        crossings = plan_crossings(self._config, self._bundle.max_length)
        compare = self._compare_written
        if self._is_encoder_decoder:
            compare = self._compare_decoded
            targets = plan_crossings(self._config, self._bundle.max_target_length, _FARTHEST_TARGET)
            beyond = [each.beyond for each in (crossings, targets) if each.beyond is not None]
            crossings = replace(crossings, beyond=min(beyond, default=None))
        if not crossings.crossed and crossings.beyond is None:
            return []
        pairs = [
            (expected, got) for length in crossings.crossed for expected, got in compare(reference, candidate, length)
        ]
        check = Check(
            CROSSING,
            candidate.name,
            reference.name,
            len(pairs),
            compare_tensors(iter(pairs)).largest,
            None,
            # Beside the largest score, not each beside itself: of so many, rounding alone would show in some.
            f"{ABSOLUTE:g} + {RELATIVE:g} of the largest score",
            all(_are_close(wanted["logits"], found["logits"]) for wanted, found in pairs),
        )
        return [add_crossings(check, crossings)]

    def _compare_written(self, reference: LanguageModel, candidate: LanguageModel, length: int) -> Iterator[_Pair]:
        """What a decoder writes from before a length to behind it, from it, and from behind it."""
        limit = self._bundle.max_length
        starts = (length - _BEFORE, length, length + 1) if length <= _ALL_PROMPTS else (length - _BEFORE, length + 1)
        for start in starts:
            start = max(start, 1)
            count = _FOLLOWING if limit is None else min(_FOLLOWING, limit - start + 1)
            ids = self._random_ids(start)
            tokens, wanted = reference.follow(ids, count)
            found = candidate.step_logits(ids[None], np.ones_like(ids[None]), tokens[None, :-1])
            yield {"logits": np.stack(wanted)}, {"logits": np.stack(found)}

    def _compare_decoded(self, reference: LanguageModel, candidate: LanguageModel, length: int) -> Iterator[_Pair]:
        """What an encoder-decoder makes of sources around a length, and writes across it."""
        target_limit, source_limit = self._bundle.max_target_length, self._bundle.max_length
        shapes = [(length, _STEPS), (length + 1, _STEPS)]
        if length <= _FARTHEST_TARGET:
            shapes.append((_PROMPT, length + _STEPS))
        for source, target in shapes:
            ids = self._random_ids(source if source_limit is None else min(source, source_limit))
            steps = target if target_limit is None else min(target, target_limit)
            following = self._random_ids(steps)[None]
            following[:, 0] = self._start
            arguments = ids[None], np.ones_like(ids[None]), following
            wanted, found = reference.step_logits(*arguments), candidate.step_logits(*arguments)
            yield {"logits": np.stack(wanted)}, {"logits": np.stack(found)}

    def _random_ids(self, length: int) -> Ids:
        return np.random.default_rng(length).integers(0, len(self._tokenizer), length)

    def _check_tokens(self, reference: LanguageModel, candidate: LanguageModel) -> Check:
        longest = self._longest - (0 if self._is_encoder_decoder else _GENERATED)
        prompts = [ids[:_PROMPT] for ids in self._encoded[:_SEARCHES] if min(len(ids), _PROMPT) <= longest]
        count = min(_GENERATED, self._longest - 1)
        wanted = [reference.generate(ids, count) for ids in prompts]
        found = [candidate.generate(ids, count) for ids in prompts]
        same = [one == other for one, other in zip(wanted, found, strict=True)]
        first = next((index for index, alike in enumerate(same) if not alike), None)
        detail = (
            None if first is None else f"after {prompts[first].tolist()}: {found[first]} instead of {wanted[first]}"
        )
        return Check(
            "tokens, greedy search",
            candidate.name,
            reference.name,
            len(prompts),
            {},
            sum(same) / len(same) if same else None,
            "same tokens",
            first is None,
            detail,
        )


def _are_close(wanted: NDArray[Any], found: NDArray[Any]) -> bool:
    """Whether scores, [steps, rows, vocabulary] each, differ by rounding beside the largest of each step."""
    if wanted.shape != found.shape or not np.isfinite(found).all():
        return False
    sizes = np.abs(wanted).max(axis=-1, keepdims=True)
    return bool((np.abs(found - wanted) <= ABSOLUTE + RELATIVE * sizes).all())


def _decoder_start(loaded: LoadedCheckpoint) -> int:
    options: Any = loaded.model.generation_config
    for name in ("decoder_start_token_id", "bos_token_id"):
        if isinstance(getattr(options, name, None), int):
            return int(getattr(options, name))
    return 0
