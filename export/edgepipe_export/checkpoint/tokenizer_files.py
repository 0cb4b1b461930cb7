"""Any fast tokenizer of transformers to the files of a bundle, proved id for id.

What is written is the loaded tokenizer as it is in use, never a copy of the checkpoint's tokenizer.json: transformers
rebuilds many tokenizers from their vocabulary, and the results of the two can differ.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepipe import Tokenizer
from edgepipe.errors import ExportError, InputError
from edgepipe.tokenization.loading import CLASS_SETTINGS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# What a call may pass each time, saved by whoever saved the tokenizer, and where it was loaded from.
_CALL_ARGUMENTS = (
    "max_length",
    "stride",
    "truncation_strategy",
    "pad_to_multiple_of",
    "is_local",
    "local_files_only",
    "name_or_path",
)


@dataclass(frozen=True, slots=True)
class Difference:
    """A text that two tokenizers treat differently.

    Attributes:
        texts: The text, or the two of a pair.
        key: Which array differs.
        expected: The array that transformers makes.
        got: The array that edgepipe makes.
    """

    texts: tuple[str, ...]
    key: str
    expected: Any
    got: Any

    def __str__(self) -> str:
        shown = " + ".join(repr(text if len(text) <= 80 else text[:77] + "...") for text in self.texts)
        return f"{self.key} of {shown}: transformers {_shown(self.expected)}, edgepipe {_shown(self.got)}"


@cache
def tokenizer_corpus() -> tuple[str, ...]:
    """Short texts that tokenizers trip over: every script, emoji, marks, controls, runs of blanks, no text at all."""
    data = files("edgepipe_export") / "data" / "tokenizer_corpus.json"
    texts: list[str] = json.loads(data.read_text(encoding="utf-8"))
    return tuple(texts)


def write_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write tokenizer.json, tokenizer_config.json and, where there is one, chat_template.jinja; prove them.

    Raises:
        ExportError: edgepipe does not read the written files as transformers does; the message has the first text
            that shows it.
    """
    tokenizer.save_pretrained(folder)
    _edit(folder / "tokenizer.json", {"truncation": None, "padding": None}, ())
    _edit(folder / "tokenizer_config.json", _settings(tokenizer), _CALL_ARGUMENTS)
    difference = next(find_differences(tokenizer, Tokenizer.from_pretrained(folder), tokenizer_corpus()), None)
    if difference is not None:
        raise ExportError(
            f"edgepipe does not read this {type(tokenizer).__name__} as transformers does; {difference}; please report "
            "it with the name of the checkpoint"
        )


def declare_added_tokens(tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Say in tokenizer_config.json whether a prompt gets a token before or after it.

    transformers 5 leaves that to tokenizer.json and drops it here; transformers.js reads it here, and without it gives
    a prompt to the model as it is.
    """
    bare, whole = (tokenizer("a", add_special_tokens=added)["input_ids"] for added in (False, True))
    adds = {"add_bos_token": whole[: len(bare)] != bare, "add_eos_token": whole[-len(bare) :] != bare}
    _edit(folder / "tokenizer_config.json", {name: True for name, is_so in adds.items() if is_so}, ())


def find_differences(
    reference: PreTrainedTokenizerBase, candidate: Tokenizer, texts: Sequence[str]
) -> Iterator[Difference]:
    """Compare two tokenizers on each text, each text with the next as a pair, and truncated.

    Ids, masks, token types and offsets are compared. What the reference fails at, the candidate has to refuse.
    """
    for position, text in enumerate(texts):
        pair = texts[(position + 1) % len(texts)]
        calls: tuple[tuple[tuple[str, ...], dict[str, Any]], ...] = (
            ((text,), {}),
            ((text,), {"truncation": True, "max_length": 12}),
            ((text, pair), {}),
            ((text, pair), {"truncation": True, "max_length": 16}),
        )
        for call, options in calls:
            try:
                wanted = dict(reference(*call, **options, return_special_tokens_mask=True, return_offsets_mapping=True))
            except Exception as error:
                if type(error) is not Exception:
                    raise
                wanted = {}  # tokenizers' own: a word needs the unknown token, which the vocabulary lacks
            try:
                got = dict(candidate(*call, **options, return_special_tokens_mask=True, return_offsets_mapping=True))
            except InputError:
                got = {}
            difference = _first_difference(call, wanted, got)
            if difference is not None:
                yield difference
                break


def _first_difference(texts: tuple[str, ...], wanted: Mapping[str, Any], got: Mapping[str, Any]) -> Difference | None:
    if sorted(wanted) != sorted(got):
        return Difference(texts, "the names of the arrays", sorted(wanted), sorted(got))
    for key in wanted:
        if _plain(wanted[key]) != _plain(got[key]):
            return Difference(texts, key, wanted[key], got[key])
    return None


def _plain(values: Any) -> Any:
    return [tuple(value) if isinstance(value, (list, tuple)) else value for value in values]


def _settings(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    return {name: getattr(tokenizer, name) for name in CLASS_SETTINGS if hasattr(tokenizer, name)}


def _edit(path: Path, entries: Mapping[str, Any], dropped: Sequence[str]) -> None:
    content = json.loads(path.read_text(encoding="utf-8")) | entries
    kept = {key: value for key, value in content.items() if key not in dropped}
    path.write_text(json.dumps(kept, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 120 else text[:117] + "..."
