"""Summarization: its name in results and in a checkpoint's config."""

from __future__ import annotations

import pytest

from tests.golden.prove_generation import built, loaded
from tests.golden.suites.text2text_generation import PARAMS, PLAIN


@pytest.mark.parametrize("tensors", [False, True])
def test_results_are_summaries(tensors: bool) -> None:
    summarize, write = (loaded(task, *built(task, "t5", "plain")) for task in ("summarization", "text2text-generation"))
    kind = "token_ids" if tensors else "text"
    [result] = summarize(PLAIN, max_new_tokens=6, return_tensors=tensors)
    assert list(result) == [f"summary_{kind}"]
    assert [*result.values()] == [*write(PLAIN, max_new_tokens=6, return_tensors=tensors)[0].values()]


def test_the_config_s_words_for_the_task() -> None:
    summarize = loaded("summarization", *built("summarization", "t5", "params of the task"))
    assert summarize.prefix == "summarize: "
    config = summarize.settings({}).generation
    found = {name: getattr(config, name) for name in PARAMS["summarization"] if name != "prefix"}
    assert found == {name: value for name, value in PARAMS["summarization"].items() if name != "prefix"}
    assert summarize.settings({"min_length": 2}).generation.min_length == 2
