"""Tasks that write: every tool is to choose the same tokens, in every variant whose files it finds."""

from __future__ import annotations

import json
from itertools import dropwhile, takewhile
from pathlib import Path
from typing import Any

from edgepipe import pipeline
from edgepipe_export import export
from tests.interop.case import TRANSFORMERS_JS, Call, Case
from tests.tiny.generative import build_generative

# Each with the task that it is exported for: one whose attention is one operator of onnxruntime and one whose is not,
# those whose rotary embeddings are an operator, too, one of them with a token before each prompt and one with norms of
# queries and keys; and the families of encoder-decoders.
WRITERS = {
    "gpt2": "text-generation",
    "bloom": "text-generation",
    "llama": "text-generation",
    "qwen2": "text-generation",
    "qwen3": "text-generation",
    "t5": "text2text-generation",
    "bart": "summarization",
    "marian": "translation",
}
# Those of ours that transformers.js has a name for.
DTYPES = ("fp32", "int8", "q4")
ONE, TWO = "Hello there, my friend", ["The 2nd of May", "a"]
# transformers.js has no beams.
GREEDY = {"num_beams": 1, "do_sample": False, "max_new_tokens": 12}
BEAMS = GREEDY | {"num_beams": 3}


class Writer(Case):
    """A variant of a model that writes."""

    def make(self, root: Path) -> None:
        """See :meth:`Case.make`."""
        checkpoint = root / "checkpoint" / self.bundle
        build_generative(self.model, directory=checkpoint)
        export(str(checkpoint), root / self.bundle, task=self.task, dtypes=DTYPES, verify=False)

    def calls(self, asked: str) -> list[Call]:
        """See :meth:`Case.calls`."""
        # int8 has one scale for all activations of a batch, so that a text's neighbours change what is written.
        texts: tuple[Any, ...] = (ONE, *TWO) if self.dtype == "int8" else (ONE, TWO)
        if asked == TRANSFORMERS_JS:
            return [([text], {"max_new_tokens": GREEDY["max_new_tokens"]}) for text in texts]
        return [([text], search | {"return_tensors": True}) for search in (GREEDY, BEAMS) for text in texts]

    def own(self, root: Path) -> Any:
        """See :meth:`Case.own`."""
        ask = pipeline(None, root / self.bundle, dtype=self.dtype)
        return [ask(*inputs, **options) for inputs, options in self.calls("edgepipe")]

    def kept(self, answers: Any, root: Path) -> Any:
        """See :meth:`Case.kept`: rows of tokens up to their end, without what fills up a batch.

        transformers.js goes on writing behind the end while other texts of a batch have none yet.
        """
        settings = json.loads((root / self.bundle / "generation_config.json").read_text(encoding="utf-8"))
        return [_whole(row, {settings["pad_token_id"], settings["eos_token_id"]}) for row in _rows(answers)]


def _rows(answers: Any) -> list[list[int]]:
    """The token ids in a result, however deep."""
    if isinstance(answers, dict):
        return [ids for name, ids in answers.items() if name.endswith("token_ids")]
    if answers and all(isinstance(item, int) for item in answers):
        return [answers]
    return [row for item in answers for row in _rows(item)]


def _whole(row: list[int], fill: set[int]) -> list[int]:
    """A row from its first token of a text to its last."""
    rest = dropwhile(fill.__contains__, row)
    return list(takewhile(lambda token: token not in fill, rest))
