"""Log-probabilities, asked for by OpenAI's own client: they are the graph's."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgepipe.numerics import log_softmax
from tests.runtime.serve.protocols.openai.conftest import (
    GREEDY,
    MESSAGES,
    PROMPTS,
    Writers,
)


def test_logprobs_are_those_of_the_graph(writers: Writers) -> None:
    found = writers.client.completions.create(model="gpt2", prompt=PROMPTS[0], seed=5, max_tokens=10, logprobs=3)
    task = writers.tasks["gpt2"]
    prompt = task.tokenizer(PROMPTS[0])["input_ids"]
    record = task(PROMPTS[0], do_sample=True, temperature=1.0, top_k=0, seed=5, max_new_tokens=10, return_tensors=True)
    new = record[0]["generated_token_ids"][len(prompt) :]
    outputs = task.compute_outputs([{"input_ids": prompt}], new[:-1])
    expected = [log_softmax(each["logits"].reshape(1, -1).copy())[0] for each in outputs]
    logprobs: Any = found.choices[0].logprobs
    own = [row[token] for row, token in zip(expected, new, strict=True)]
    np.testing.assert_allclose(logprobs.token_logprobs, own, atol=1e-4)
    for shown, row in zip(logprobs.top_logprobs, expected, strict=True):
        np.testing.assert_allclose(sorted(shown.values())[-3:], np.sort(row)[-3:], atol=1e-4)
        assert 3 <= len(shown) <= 4, "the token itself is there, too"


def test_logprobs_of_chats_have_bytes(writers: Writers) -> None:
    found: Any = writers.client.chat.completions.create(
        model="chat", messages=MESSAGES, **GREEDY, logprobs=True, top_logprobs=2
    ).choices[0]
    joined = b"".join(bytes(each.bytes or []) for each in found.logprobs.content)
    assert joined.decode(errors="replace").strip() == (found.message.content or "").strip()
    for each in found.logprobs.content:
        assert [top.logprob for top in each.top_logprobs] == sorted(
            (t.logprob for t in each.top_logprobs), reverse=True
        )
        assert each.top_logprobs[0].logprob == each.logprob, "the likeliest was taken"
        assert (each.token, each.bytes) == (each.top_logprobs[0].token, each.top_logprobs[0].bytes)
