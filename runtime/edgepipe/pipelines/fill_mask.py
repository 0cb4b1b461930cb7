"""Fill-mask: the likeliest tokens in place of each mask of a text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Unpack, overload

import numpy as np
from numpy.typing import NDArray

from edgepipe.arguments import check_whole
from edgepipe.caller_warnings import warn
from edgepipe.errors import InputError
from edgepipe.numerics import softmax, top_indices
from edgepipe.pipelines.base import Outputs, Request, Task
from edgepipe.pipelines.options import build_tokenizer_options, check_options, check_text, check_tokenizer_arguments
from edgepipe.pipelines.text_columns import as_list

if TYPE_CHECKING:
    from edgepipe.models.encoder import Model
    from edgepipe.pipelines.task_options import CallFillMask
    from edgepipe.pipelines.task_results import FillMaskResult


@dataclass(frozen=True, slots=True)
class FillMaskSettings:
    """Checked options.

    Attributes:
        tokenizer: Keyword arguments for the tokenizer.
        top_k: How many tokens to propose for a mask.
        targets: Token ids to choose among; None for the whole vocabulary.
    """

    tokenizer: Mapping[str, Any]
    top_k: int
    targets: NDArray[np.int64] | None


class FillMask(Task):
    """Proposals for masked tokens, as transformers' ``FillMaskPipeline`` gives them.

    ::

        unmask = pipeline("fill-mask", "path/to/bundle")
        unmask("Rome is the [MASK] of Italy.", top_k=1)
        # [{"score": 0.98, "token": 3007, "token_str": "capital", "sequence": "rome is the capital of italy."}]

    The options of a call may be given to ``pipeline`` too; then they hold for every call. A text longer than the
    model's limit is truncated.
    """

    name = "fill-mask"
    outputs = ("logits",)
    token_level = True
    model: Model

    @overload
    def __call__(self, inputs: str, **options: Unpack[CallFillMask]) -> list[FillMaskResult]: ...
    @overload
    def __call__(
        self, inputs: list[str], **options: Unpack[CallFillMask]
    ) -> list[list[FillMaskResult]] | list[FillMaskResult]: ...
    @overload
    def __call__(self, inputs: tuple[str, ...], **options: Unpack[CallFillMask]) -> list[list[FillMaskResult]]: ...
    @overload
    def __call__(self, inputs: Iterator[str], **options: Unpack[CallFillMask]) -> Iterator[list[FillMaskResult]]: ...
    def __call__(self, inputs: Any, *, batch_size: int | None = None, progress: bool = False, **options: Any) -> Any:
        """Propose tokens.

        Args:
            inputs: A text with at least one mask token, or a list or iterator of them.
            batch_size: How many texts go through the graph at once; by default the pipeline's own.
            progress: Whether to count the results of a list or iterator on standard error. Needs ``tqdm``.
            **options: ``top_k``: how many tokens to propose, by default 5.
                ``targets``: a word or several, to choose among; one that the vocabulary lacks counts as its first
                token, with a warning.
                ``tokenizer_kwargs``: a dict of the tokenizer's arguments, e.g. ``{"truncation": False}``.

        Returns:
            For each text a list of dicts with ``score``, ``token`` (its id), ``token_str`` and ``sequence``, the best
            first; for a text with several masks a list of such lists. A list of one text gives that text's result; a
            tuple or an iterator does not.

        Raises:
            InputError: an input or an option cannot be used.
            ClosedError: the pipeline was closed.
        """
        inputs = as_list(inputs)
        results = self._call(inputs, batch_size=batch_size, progress=progress, **options)
        return results[0] if isinstance(inputs, list) and len(inputs) == 1 else results

    def settings(self, options: Mapping[str, Any]) -> FillMaskSettings:
        """Check the options; see :meth:`Task.settings`."""
        check_options(options, ("top_k", "targets", "tokenizer_kwargs"), self.name)
        if self.tokenizer.mask_token_id is None:
            raise InputError("the tokenizer has no mask token: the checkpoint is not one for fill-mask")
        top_k = options.get("top_k")
        top_k = 5 if top_k is None else check_whole("top_k", top_k, 1)
        tokenizer = check_tokenizer_arguments("tokenizer_kwargs", options.get("tokenizer_kwargs"))
        targets = options.get("targets")
        return FillMaskSettings(
            build_tokenizer_options(tokenizer, self.tokenizer, self.model.max_length, self.name),
            top_k,
            None if targets is None else self._target_ids(targets),
        )

    def _target_ids(self, targets: Any) -> NDArray[np.int64]:
        words = [targets] if isinstance(targets, str) else targets
        if not isinstance(words, (list, tuple)) or not all(isinstance(word, str) for word in words):
            raise InputError(f"targets must be a word or a list of words, got {targets!r}")
        vocabulary = self.tokenizer.get_vocab()
        ids = []
        for word in words:
            if word in vocabulary:
                ids.append(vocabulary[word])
                continue
            pieces = self.tokenizer(word, add_special_tokens=False, truncation=True, max_length=1)["input_ids"]
            if pieces:
                used = self.tokenizer.convert_ids_to_tokens(pieces[0])
                warn(f"the vocabulary has no {word!r}; {used!r} is used in its place")
                ids.append(pieces[0])
            else:
                warn(f"the target {word!r} has no token and is left out")
        if not ids:
            raise InputError(f"none of the targets {words!r} has a token; pass at least one word that does")
        return np.array(list(set(ids)), dtype=np.int64)

    def encode(self, item: Any, settings: FillMaskSettings) -> Request:
        """Token ids of one text."""
        encoding = self.tokenizer(check_text(item), **settings.tokenizer)
        if self.tokenizer.mask_token_id not in encoding["input_ids"]:
            raise InputError(
                f"the text has no mask token {self.tokenizer.mask_token!r} (within the model's limit): {item!r:.80}"
            )
        return Request([encoding], encoding["input_ids"], encoding.is_cut)

    def select_outputs(self, piece: Mapping[str, list[int]], outputs: Outputs) -> Outputs:
        """The scores of the masks alone: those of a window of texts for all tokens would be gigabytes."""
        return {"logits": outputs["logits"][np.array(piece["input_ids"]) == self.tokenizer.mask_token_id]}

    def decode(
        self, request: Request, outputs: Sequence[Outputs], settings: FillMaskSettings
    ) -> list[FillMaskResult] | list[list[FillMaskResult]]:
        """The proposals of one text, from ``logits`` float32[masks, vocabulary]."""
        ids = np.array(request.context)
        masks = np.flatnonzero(ids == self.tokenizer.mask_token_id)
        results = []
        for position, scores in zip(masks, softmax(outputs[0]["logits"]), strict=True):
            candidates = scores if settings.targets is None else scores[settings.targets]
            proposals: list[FillMaskResult] = []
            for index in top_indices(candidates, settings.top_k).tolist():
                token = index if settings.targets is None else int(settings.targets[index])
                filled = np.where(np.arange(len(ids)) == position, token, ids)
                filled = filled[filled != self.tokenizer.pad_token_id]
                proposals.append(
                    {
                        "score": candidates[index].item(),
                        "token": token,
                        "token_str": self.tokenizer.decode([token]),
                        # With several masks the others stay visible, special tokens and all.
                        "sequence": self.tokenizer.decode(filled.tolist(), skip_special_tokens=len(masks) == 1),
                    }
                )
            results.append(proposals)
        return results[0] if len(results) == 1 else results
