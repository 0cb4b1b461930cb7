"""Options: which names there are, what values they take, and what reaches the tokenizer."""

from __future__ import annotations

from typing import Any

import pytest

from edgepipe import Tokenizer
from edgepipe.errors import InputError
from edgepipe.pipelines.options import (
    build_tokenizer_options,
    check_options,
    check_text,
    check_tokenizer_arguments,
    get_flag,
    min_limit,
)
from tests.runtime.small_bundle import write_foreign

LIMIT = 16


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """One that takes fewer tokens than the graph."""
    folder = tmp_path_factory.mktemp("tokenizer")
    write_foreign(folder, limit=9)
    return Tokenizer.from_pretrained(folder)


@pytest.mark.parametrize(
    ("name", "ending"), [("top_kk", r"; did you mean 'top_k'\?$"), ("colour", "has no option 'colour'$")]
)
def test_an_unknown_option_is_refused_with_the_nearest(name: str, ending: str) -> None:
    check_options({"top_k": 1, "stride": None}, ("top_k", "stride"), "fill-mask")
    with pytest.raises(InputError, match=f"^fill-mask has no option '{name}'") as caught:
        check_options({"top_k": 1, name: 2}, ("top_k", "stride"), "fill-mask")
    assert caught.match(ending)


def test_none_or_nothing_is_the_default() -> None:
    assert get_flag({}, "sorted", True) is True
    assert get_flag({"sorted": None}, "sorted", None) is None
    assert get_flag({"sorted": False}, "sorted", True) is False


@pytest.mark.parametrize("value", [0, 1, "yes", [True]])
def test_nothing_stands_in_for_a_truth_value(value: Any) -> None:
    with pytest.raises(InputError, match="sorted must be True or False, got "):
        get_flag({"sorted": value}, "sorted", True)


def test_a_text_and_nothing_else() -> None:
    assert check_text("") == ""
    for wrong, said in ((b"a", "bytes b'a'"), (None, "NoneType None"), (7, "int 7")):
        with pytest.raises(InputError, match=f"^expected a text, got {said}, not this$"):
            check_text(wrong, ", not this")
    with pytest.raises(InputError) as caught:
        check_text(["a"] * 1000)
    assert len(str(caught.value)) < 100


def test_the_tokenizer_s_arguments_are_a_dict() -> None:
    assert check_tokenizer_arguments("tokenizer_kwargs", None) == {}
    assert check_tokenizer_arguments("tokenizer_kwargs", {"truncation": False}) == {"truncation": False}
    for wrong in ([1], "truncation", 3):
        with pytest.raises(InputError, match="tokenizer_kwargs must be a dict of the tokenizer's arguments, got "):
            check_tokenizer_arguments("tokenizer_kwargs", wrong)


@pytest.mark.parametrize(("limits", "least"), [((), None), ((None, None), None), ((None, 3), 3), ((5, 3, None), 3)])
def test_the_smallest_limit(limits: tuple[int | None, ...], least: int | None) -> None:
    assert min_limit(*limits) == least


@pytest.mark.parametrize(
    ("options", "longest"),
    [
        ({}, LIMIT),
        ({"max_length": 5}, 5),
        ({"max_length": 500}, LIMIT),
        ({"max_length": None}, LIMIT),
        ({"truncation": True}, 9),  # the tokenizer's own
        ({"truncation": True, "max_length": 12}, 12),
        ({"truncation": "only_first"}, 9),
    ],
    ids=str,
)
def test_texts_are_kept_within_what_the_graph_takes(
    options: dict[str, Any], longest: int, tokenizer: Tokenizer
) -> None:
    found = build_tokenizer_options(options, tokenizer, LIMIT, "fill-mask")
    assert found["max_length"] == longest
    assert found["truncation"] == options.get("truncation", True)
    assert len(tokenizer("one two three " * 20, **found)["input_ids"]) == longest


@pytest.mark.parametrize(
    ("options", "limit"),
    [({"truncation": False}, LIMIT), ({"truncation": "do_not_truncate", "max_length": 3}, LIMIT), ({}, None)],
    ids=str,
)
def test_options_that_are_passed_on_as_they_are(
    options: dict[str, Any], limit: int | None, tokenizer: Tokenizer
) -> None:
    assert build_tokenizer_options(options, tokenizer, limit, "fill-mask") == options


def test_a_length_that_is_no_number_is_the_tokenizer_s_to_refuse(tokenizer: Tokenizer) -> None:
    found = build_tokenizer_options({"max_length": "long"}, tokenizer, LIMIT, "fill-mask")
    with pytest.raises(InputError, match="max_length"):
        tokenizer("text", **found)


@pytest.mark.parametrize("name", ["text", "text_pair", "return_tensors", "is_split_into_words"])
def test_what_the_task_sets_itself_is_no_option(name: str, tokenizer: Tokenizer) -> None:
    with pytest.raises(InputError, match=f"fill-mask has no option '{name}'"):
        build_tokenizer_options({name: True}, tokenizer, LIMIT, "fill-mask")


def test_the_nearest_option_is_the_task_s_or_the_tokenizer_s(tokenizer: Tokenizer) -> None:
    for name, near in (("truncatoin", "truncation"), ("target", "targets")):
        with pytest.raises(InputError, match=f"has no option '{name}'; did you mean '{near}'"):
            build_tokenizer_options({name: True}, tokenizer, LIMIT, "fill-mask", own=("targets",))
