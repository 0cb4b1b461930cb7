"""token-classification beside transformers: frozen answers and live ones."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from edgepipe import pipeline
from edgepipe.errors import InputError
from tests.conftest import Exported
from tests.golden import prove
from tests.golden.suites import golden, suite

TASK = "token-classification"
every_model = prove.parametrized(TASK)


@every_model
def test_the_golden_file_has_today_s_cases(architecture: str, model: str) -> None:
    prove.prove_cases(TASK, architecture, model)


@every_model
def test_as_frozen(architecture: str, model: str, tiny_export: Callable[..., Exported]) -> None:
    prove.prove_frozen(TASK, architecture, model, tiny_export)


@pytest.mark.filterwarnings("ignore:Tokenizer does not support real words")
def test_as_transformers_answers_here(tiny_export: Callable[..., Exported]) -> None:
    prove.prove_live(TASK, "bert", "B- and I-", tiny_export)


@pytest.mark.parametrize("architecture", suite(TASK).models)
def test_the_frozen_answers_have_entities_of_every_kind(architecture: str) -> None:
    """Golden files of a model that labels everything alike would prove little."""
    for case in golden(TASK, architecture)["cases"]:
        if case["name"] == "every text, none":
            assert len({entity["entity"] for result in case["result"] for entity in result}) > 2
        if case["name"] == "stride=1, simple":
            lengths = [entity["end"] - entity["start"] for entity in case["result"]]
            assert len(case["result"]) > 10
            assert max(lengths) > 5


def test_the_offsets_show_the_words(tiny_export: Callable[..., Exported]) -> None:
    """Start and end count characters, not UTF-16 units or bytes."""
    text = "👩‍👩‍👧‍👦 \U0001d538lice met Bob 🇫🇷 in 東京."
    ner = pipeline(
        TASK, tiny_export("bert", **suite(TASK).build_arguments("bert", "B- and I-")).bundle, ignore_labels=[]
    )
    entities = ner(text)
    assert {entity["word"]: text[entity["start"] : entity["end"]] for entity in entities}["東"] == "東"
    assert entities[-1]["end"] == len(text)
    whole = ner([["👩‍👩‍👧‍👦", "\U0001d538lice", "東京"]], is_split_into_words=True, delimiter="🙂")[0]
    assert whole[-1]["end"] == len("👩‍👩‍👧‍👦🙂\U0001d538lice🙂東京")


def test_options_when_made_hold_for_every_call(tiny_export: Callable[..., Exported]) -> None:
    """transformers forgets is_split_into_words and the delimiter of the pipeline itself."""
    bundle = tiny_export("bert", **suite(TASK).build_arguments("bert", "B- and I-")).bundle
    words = [["Sarah", "lives", "in", "Rome"]]
    called = pipeline(TASK, bundle)(words, is_split_into_words=True, delimiter="__")
    assert pipeline(TASK, bundle, is_split_into_words=True, delimiter="__")(words) == called


def test_a_generator_of_word_lists(tiny_export: Callable[..., Exported]) -> None:
    """transformers loses the inputs: it looks through them to see what they are."""
    ner = pipeline(TASK, tiny_export("bert", **suite(TASK).build_arguments("bert", "B- and I-")).bundle)
    words = [["Sarah", "lives"], ["in", "Rome"], []]
    assert list(ner(iter(words), is_split_into_words=True)) == ner(words, is_split_into_words=True)


def test_no_words(tiny_export: Callable[..., Exported]) -> None:
    ner = pipeline(TASK, tiny_export("bert", **suite(TASK).build_arguments("bert", "B- and I-")).bundle)
    assert ner([], is_split_into_words=True) == []
    assert ner([[]], is_split_into_words=True) == [[]]
    assert ner([["", ""]], is_split_into_words=True) == [[]]


@pytest.mark.parametrize(
    ("inputs", "options", "message"),
    [
        (None, {}, "expected a text, got NoneType"),
        (3, {}, "expected a text, got int"),
        (b"bytes", {}, "expected a text, got bytes"),
        (["fine", None], {}, "input 1: expected a text, got NoneType"),
        ([["a", "b"]], {}, "input 0: expected a text, got list .*is_split_into_words=True"),
        ({"text": "a"}, {}, "expected a text, got dict"),
        ("a\ud800", {}, "lone surrogate .U.D800. at character 1"),
        (["a", "b\udfff"], {"batch_size": 2}, "input 1: .*lone surrogate"),
        ("a text", {"is_split_into_words": True}, "expects a list of words, got 'a text'"),
        ([["a", 3]], {"is_split_into_words": True}, "input 0: .*expects a list of words"),
        ([["a", "\ud83d"]], {"is_split_into_words": True}, "input 0: .*lone surrogate"),
        ("a", {"aggregation_strategy": "mean"}, "one of none, simple, first, average, max, got 'mean'"),
        ("a", {"aggregation_strategy": 1}, "aggregation_strategy must be one of"),
        ("a", {"aggregation_strategy": 0}, "aggregation_strategy must be one of"),
        ("a", {"aggregation_strategy": ""}, "aggregation_strategy must be one of"),
        ("a", {"ignore_labels": "O"}, "ignore_labels must be a list of labels, got 'O'"),
        ("a", {"ignore_labels": [0]}, "ignore_labels must be a list of labels"),
        ("a", {"ignore_labels": 0}, "ignore_labels must be a list of labels"),
        ("a", {"delimiter": 1, "is_split_into_words": True}, "delimiter must be a text"),
        ("a", {"is_split_into_words": "yes"}, "is_split_into_words must be True or False, got 'yes'"),
        ("a", {"stride": 62, "aggregation_strategy": "simple"}, "stride=62 must be less than the 62 tokens"),
        ("a", {"stride": 640, "aggregation_strategy": "simple"}, "stride=640 must be less than"),
        ("a", {"stride": -1, "aggregation_strategy": "simple"}, "stride must be a whole number"),
        ("a", {"stride": 1.5, "aggregation_strategy": "simple"}, "stride must be a whole number"),
        ("a", {"stride": 4, "aggregation_strategy": "none"}, "aggregation_strategy other than .none."),
        ("a", {"agregation_strategy": "simple"}, "did you mean 'aggregation_strategy'"),
        ("a", {"batch_size": 0}, "batch_size must be a whole number of at least 1"),
    ],
)
def test_bad_input(
    inputs: object, options: dict[str, object], message: str, tiny_export: Callable[..., Exported]
) -> None:
    ner = pipeline(TASK, tiny_export("bert", **suite(TASK).build_arguments("bert", "B- and I-")).bundle)
    with pytest.raises(InputError, match=message):
        ner(inputs, **options)
