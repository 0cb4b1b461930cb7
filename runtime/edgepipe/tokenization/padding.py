"""The padding x truncation table of transformers, and padding of what is already encoded.

`resolve_lengths` turns the arguments of a call into what is to be done; its rules, oddities included, are those of
``PreTrainedTokenizerBase._get_padding_truncation_strategies`` in transformers 5.23. `pad_values` is the counterpart
of ``PreTrainedTokenizerBase.pad``, on numpy.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np

from edgepipe.arguments import is_one_of, is_whole
from edgepipe.caller_warnings import warn
from edgepipe.errors import InputError
from edgepipe.tokenization.loading import TokenizerSettings

Meaning = TypeVar("Meaning")
Padding = Literal["longest", "max_length"]
Truncation = Literal["longest_first", "only_first", "only_second"]

_PADDING: dict[Any, Padding | None] = {
    True: "longest",
    "longest": "longest",
    "max_length": "max_length",
    False: None,
    "do_not_pad": None,
}
_TRUNCATION: dict[Any, Truncation | None] = {
    True: "longest_first",
    "longest_first": "longest_first",
    "only_first": "only_first",
    "only_second": "only_second",
    None: None,
    False: None,
    "do_not_truncate": None,
}
PADDING_VALUES = "True, False, 'longest', 'max_length', 'do_not_pad'"
TRUNCATION_VALUES = "True, False, 'longest_first', 'only_first', 'only_second', 'do_not_truncate'"

# Far beyond any model; keeps a mistyped length from asking for terabytes.
_LARGEST_LENGTH = 2**24


@dataclass(frozen=True, slots=True)
class Lengths:
    """What a call does about lengths.

    Attributes:
        padding: None, "longest" (of the batch) or "max_length".
        truncation: None, "longest_first", "only_first" or "only_second".
        max_length: In tokens; None where neither needs it.
    """

    padding: Padding | None
    truncation: Truncation | None
    max_length: int | None


_UNCHANGED = Lengths(None, None, None)


def resolve_lengths(
    settings: TokenizerSettings,
    padding: bool | str,
    truncation: bool | str | None,
    max_length: int | None,
    pad_to_multiple_of: int | None,
    needs_pad_token: bool = True,
) -> Lengths:
    """Decide how a call pads and truncates.

    Raises:
        InputError: An unknown value, values that contradict each other, or padding without a padding token.
    """
    if (
        padding is False
        and (truncation is None or truncation is False)
        and max_length is None
        and pad_to_multiple_of is None
    ):
        return _UNCHANGED
    if max_length is not None:
        check_count("max_length", max_length, least=0)
    if pad_to_multiple_of is not None:
        check_count("pad_to_multiple_of", pad_to_multiple_of, least=1)
    if max_length is not None and padding is False and truncation is None:
        truncation = "longest_first"

    pad = _look_up("padding", padding, _PADDING, PADDING_VALUES)
    cut = _look_up("truncation", truncation, _TRUNCATION, TRUNCATION_VALUES)
    if padding is True and max_length is not None and cut is None:
        warn(
            "max_length has no effect with padding=True and no truncation; "
            "pass padding='max_length' to pad to it, or truncation=True to cut to it."
        )

    if max_length is None and (pad == "max_length" or cut is not None):
        max_length = settings.model_max_length
        if max_length is None:
            # The model has no limit: nothing to pad to, nothing to cut at.
            pad = None if pad == "max_length" else pad
            cut = None
    if pad is not None:
        if needs_pad_token:
            check_pad_token(settings)
        if cut is not None and pad_to_multiple_of is not None and max_length and max_length % pad_to_multiple_of:
            raise InputError(
                f"max_length={max_length} is not a multiple of pad_to_multiple_of={pad_to_multiple_of}, but both "
                "padding and truncation are on; make it one, or switch either off."
            )
    return Lengths(pad, cut, max_length)


def _look_up(name: str, value: Any, meanings: Mapping[Any, Meaning], expected: str) -> Meaning:
    # A number is no truth value, and what cannot be a key is no value at all.
    if (value is not None and not isinstance(value, (bool, str))) or value not in meanings:
        raise InputError(f"{name} is {value!r}, expected one of {expected}.")
    return meanings[value]


def check_pad_token(settings: TokenizerSettings) -> None:
    """Raise unless there is a token to pad with."""
    if "pad_token" not in settings.special_tokens:
        raise InputError(
            "padding was asked for, but this tokenizer has no padding token; name one when loading, for instance "
            "Tokenizer.from_pretrained(path, pad_token='<the end-of-text token>'), or pass one text at a time."
        )


def check_side(side: str | None, name: str = "padding_side") -> None:
    """Raise unless `side` is None, "right" or "left"."""
    if not is_one_of(side, (None, "right", "left")):
        raise InputError(f"{name} is {side!r}, expected 'right' or 'left'.")


def check_count(name: str, value: Any, least: int) -> None:
    """Raise unless `value` is a whole number that can be a length in tokens."""
    if not is_whole(value, least) or value > _LARGEST_LENGTH:
        raise InputError(f"{name} is {value!r}, expected a whole number from {least} to {_LARGEST_LENGTH}.")


def target_length(longest: int, lengths: Lengths, pad_to_multiple_of: int | None) -> int:
    """Number of tokens to pad to: the batch's `longest` or the wanted length, rounded up to the multiple."""
    target = longest
    if lengths.padding == "max_length" and lengths.max_length is not None:
        target = lengths.max_length
    if pad_to_multiple_of is not None and target % pad_to_multiple_of:
        target += pad_to_multiple_of - target % pad_to_multiple_of
    return target


def stack(name: str, rows: Sequence[Any]) -> np.ndarray[Any, Any]:
    """Rows of one result as an int64 array of shape [batch, tokens] (offsets: [batch, tokens, 2]).

    Raises:
        InputError: The rows differ in length.
    """
    if len(rows) > 1 and isinstance(rows[0], list | tuple | np.ndarray):
        first = len(rows[0])
        if any(len(row) != first for row in rows):
            found = sorted({len(row) for row in rows})
            raise InputError(
                f"the rows of {name!r} have {found[0]} to {found[-1]} tokens, which is no array; pass padding=True "
                "(and truncation=True), or leave return_tensors out to get lists."
            )
    try:
        return np.asarray(rows, dtype=np.int64)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"the values of {name!r} are no whole numbers: {error}") from error


def pad_values(
    settings: TokenizerSettings,
    pad_token_id: int | None,
    encoded: Mapping[str, Any] | Sequence[Mapping[str, Any]],
    *,
    padding: bool | str,
    max_length: int | None,
    pad_to_multiple_of: int | None,
    padding_side: str | None,
    return_attention_mask: bool | None,
    return_tensors: str | None,
) -> dict[str, Any]:
    """Pad one encoding or a batch of them; see `Tokenizer.pad`."""
    check_side(padding_side)
    lengths = resolve_lengths(settings, padding, None, max_length, None, needs_pad_token=False)
    if pad_to_multiple_of is not None:
        check_count("pad_to_multiple_of", pad_to_multiple_of, least=1)
    values = _as_columns(encoded)
    main = settings.model_input_names[0]
    if main not in values:
        raise InputError(f"pad needs {main!r}, but was given {', '.join(map(repr, values)) or 'nothing'}.")
    if return_attention_mask is None:
        return_attention_mask = "attention_mask" in settings.model_input_names
    as_arrays = return_tensors == "np"
    rows = values[main]
    if isinstance(rows, np.ndarray) or (
        isinstance(rows, list | tuple) and any(isinstance(r, np.ndarray) for r in rows)
    ):
        as_arrays = True
    values = {name: _to_list(value) for name, value in values.items()}
    rows = values[main]
    if not rows:
        if return_attention_mask:
            values["attention_mask"] = []
        return {name: stack(name, value) for name, value in values.items()} if as_arrays else values

    single = not isinstance(rows[0], list | tuple)
    if single:
        values = {name: [value] for name, value in values.items()}
        rows = values[main]
    fill = {main: pad_token_id, "token_type_ids": 0, "special_tokens_mask": 1, "attention_mask": 0}
    for name in fill:
        if any(not isinstance(row, list | tuple) for row in values.get(name, ())):
            raise InputError(f"pad takes a list of numbers for each row of {name!r}.")
    if any(len(value) != len(rows) for value in values.values()):
        found = ", ".join(f"{name}: {len(value)}" for name, value in values.items())
        raise InputError(f"pad was given columns of different batch sizes ({found}).")
    if return_attention_mask and "attention_mask" not in values:
        values["attention_mask"] = [[1] * len(row) for row in rows]
    if lengths.padding is not None:
        target = target_length(max(map(len, rows)), lengths, pad_to_multiple_of)
        if any(len(row) < target for row in rows):
            check_pad_token(settings)
        left = (padding_side or settings.padding_side) == "left"
        if not return_attention_mask:
            del fill["attention_mask"]
        for name, filler in fill.items():
            if name in values:
                values[name] = [_pad_row(row, target - len(row), filler, left) for row in values[name]]
    if single:
        values = {name: value[0] for name, value in values.items()}
    return {name: stack(name, value) for name, value in values.items()} if as_arrays else values


def _as_columns(encoded: Any) -> dict[str, Any]:
    if isinstance(encoded, Mapping):
        return dict(encoded)
    if isinstance(encoded, list | tuple):
        if not encoded:
            raise InputError("pad was given an empty list, expected at least one encoding.")
        if all(isinstance(item, Mapping) for item in encoded):
            names = list(encoded[0])
            for index, item in enumerate(encoded):
                if missing := [name for name in names if name not in item]:
                    raise InputError(f"encoding {index} has no {missing[0]!r}, but encoding 0 has.")
            return {name: [item[name] for item in encoded] for name in names}
    raise InputError(
        f"pad takes an encoding or a list of encodings, not {type(encoded).__name__}; "
        "an encoding is what the tokenizer's call returns."
    )


def _to_list(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, list | tuple):
        return [item.tolist() if isinstance(item, np.ndarray) else item for item in value]
    raise InputError(f"pad takes lists or arrays of numbers, not {type(value).__name__}.")


def _pad_row(row: Sequence[Any], missing: int, filler: Any, left: bool) -> list[Any]:
    return [filler] * missing + list(row) if left else list(row) + [filler] * missing
