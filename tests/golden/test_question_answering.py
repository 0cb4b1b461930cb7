"""question-answering beside the frozen answers of transformers 4.57, the last version that has the pipeline."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from edgepipe import pipeline
from edgepipe.errors import InputError
from tests.conftest import Exported
from tests.golden import prove
from tests.golden.compare import assert_same
from tests.golden.suites import golden, suite
from tests.golden.suites.question_answering import CONTEXT, QUESTION, STORY

TASK = "question-answering"
every_model = prove.parametrized(TASK)
ONE = {"question": QUESTION, "context": CONTEXT}


def answerer(tiny_export: Callable[..., Exported], **options: Any) -> Any:
    return pipeline(TASK, tiny_export("bert", **suite(TASK).build_arguments("bert", TASK)).bundle, **options)


@every_model
def test_the_golden_file_has_today_s_cases(architecture: str, model: str) -> None:
    prove.prove_cases(TASK, architecture, model)


@every_model
def test_as_frozen(architecture: str, model: str, tiny_export: Callable[..., Exported]) -> None:
    prove.prove_frozen(TASK, architecture, model, tiny_export)


def test_the_frozen_answers_differ() -> None:
    for architecture in suite(TASK).models:
        results = [case["result"] for case in golden(TASK, architecture)["cases"] if "context: " in case["name"]]
        found = [result if isinstance(result, list) else [result] for result in results]
        assert len({answers[0]["answer"] for answers in found}) > len(found) // 2, architecture
        assert all(0 < answer["score"] <= 1 for answers in found for answer in answers), architecture


def test_a_question_and_a_context_by_position(tiny_export: Callable[..., Exported]) -> None:
    answer = answerer(tiny_export)
    assert_same(answer(QUESTION, CONTEXT), answer(ONE))
    assert_same(answer(QUESTION, CONTEXT, top_k=2), answer(question=QUESTION, context=CONTEXT, top_k=2))


def test_answers_are_where_they_say(tiny_export: Callable[..., Exported]) -> None:
    context = "👩‍👩‍👧‍👦 " + STORY
    for answer in answerer(tiny_export)(QUESTION, context, top_k=9):
        assert context[answer["start"] : answer["end"]] == answer["answer"]


def test_nothing_to_answer_with(tiny_export: Callable[..., Exported]) -> None:
    """A context of blanks has no tokens; what is left is "no answer"."""
    answer = answerer(tiny_export)
    result = answer(QUESTION, " \t ")
    assert result == [] or result["answer"] == ""
    assert answer(QUESTION, " \t ", handle_impossible_answer=True)["answer"] == ""


def test_no_questions(tiny_export: Callable[..., Exported]) -> None:
    assert answerer(tiny_export)([]) == []
    assert answerer(tiny_export)(question=[], context=CONTEXT) == []


@pytest.mark.parametrize("name", ["X", "data"])
def test_old_names_of_the_inputs(name: str, tiny_export: Callable[..., Exported]) -> None:
    answer = answerer(tiny_export)
    for inputs in (ONE, [ONE], [ONE, ONE]):
        with pytest.warns(UserWarning, match=f"{name}= is deprecated; pass the questions as a list of dicts"):
            assert answer(**{name: inputs}) == answer(inputs)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((), {}, "takes question= and context=, or a dict with both"),
        ((), {"question": QUESTION}, "takes question= and context="),
        ((), {"question": None, "context": CONTEXT}, "takes question= and context="),
        ((), {"question": [QUESTION], "context": [CONTEXT, CONTEXT]}, "1 questions need one context, or as many"),
        ((), {"question": QUESTION, "context": [CONTEXT]}, "context must be a text, got list"),
        ((), {"question": [QUESTION], "context": 3}, "1 questions need one context"),
        ((ONE,), {"question": QUESTION, "context": CONTEXT}, "give either question= and context=, or a dict"),
        ((QUESTION,), {}, 'expected a dict with "question" and "context"'),
        ((None, CONTEXT), {}, "question must be a text, got NoneType"),
        ((QUESTION, 3), {}, "context must be a text, got int"),
        (({"question": QUESTION},), {}, 'expected a dict with "question" and "context", got .*question'),
        (({"question": QUESTION, "contxt": CONTEXT},), {}, 'expected a dict with "question" and "context"'),
        (({**ONE, "id": 3},), {}, 'expected a dict with "question" and "context"'),
        (({1: QUESTION, "context": CONTEXT},), {}, 'expected a dict with "question" and "context"'),
        (([ONE, None],), {}, "input 1: expected a dict"),
        (([ONE, {**ONE, "context": ""}],), {}, "input 1: context is empty"),
        ((QUESTION, ""), {}, "context is empty"),
        (("", CONTEXT), {}, "question is empty"),
        ((QUESTION, None), {"question": QUESTION}, "give either"),
        ((QUESTION, "a\ud800"), {}, "lone surrogate"),
        (("\ud83d?", CONTEXT), {}, "lone surrogate"),
        (("why " * 70, CONTEXT), {}, "the question is too long: .* max_seq_len=64"),
        (("why " * 70, STORY), {}, "the question is too long: .* max_seq_len=64"),
        (("why " * 10, STORY), {"doc_stride": 60}, "doc_stride=60"),
        (ONE, {"doc_stride": 64}, "doc_stride=64 must be less than max_seq_len=64"),
        (ONE, {"doc_stride": -1}, "doc_stride must be a whole number of at least 0"),
        (ONE, {"max_seq_len": 0}, "max_seq_len must be a whole number of at least 1"),
        (ONE, {"max_seq_len": 2, "doc_stride": 0}, "the question is too long"),
        (ONE, {"top_k": 0}, "top_k must be a whole number of at least 1"),
        (ONE, {"top_k": True}, "top_k must be a whole number of at least 1"),
        (ONE, {"max_answer_len": "15"}, "max_answer_len must be a whole number"),
        (ONE, {"align_to_words": "no"}, "align_to_words must be True or False, got 'no'"),
        (ONE, {"handle_impossible_answer": 1}, "handle_impossible_answer must be True or False"),
        (ONE, {"top_kk": 2}, "did you mean 'top_k'"),
        (ONE, {"inputs": 2}, "question-answering has no option 'inputs'"),
    ],
)
def test_bad_input(arguments: Any, options: dict[str, Any], message: str, tiny_export: Callable[..., Exported]) -> None:
    arguments = arguments if isinstance(arguments, tuple) else (arguments,)
    with pytest.raises(InputError, match=message):
        answerer(tiny_export)(*arguments, **options)


def test_an_answer_may_be_as_long_as_any_number_says(tiny_export: Callable[..., Exported]) -> None:
    ask = answerer(tiny_export)
    assert ask(ONE, max_answer_len=10**30, batch_size=2**63) == ask(ONE, max_answer_len=64)
