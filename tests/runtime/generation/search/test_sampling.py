"""What is drawn follows the reference's distribution, and a seed makes it repeatable."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from scipy import stats

from edgepipe.errors import InputError
from edgepipe.generation.config_sources import generation_config
from edgepipe.generation.generate import generate, stream
from edgepipe.generation.search.sampling import draw_without_replacement
from tests.runtime.generation.models import VOCABULARY, batch, model
from tests.runtime.generation.torch_decoder import TorchDecoder

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Seeds are fixed, so a test that passes always does; a wrong distribution has a probability far below this.
LEAST = 0.01
DRAWS = 4000
OPTIONS: dict[str, dict[str, Any]] = {
    "all": {"top_k": 0},
    "default": {},
    "temperature": {"temperature": 0.6},
    "top_k": {"top_k": 5},
    "top_p": {"top_p": 0.8, "temperature": 1.3},
    "min_p": {"min_p": 0.1, "top_k": 0},
    "typical_p": {"typical_p": 0.7},
    "all together": {"top_k": 9, "top_p": 0.95, "min_p": 0.01, "typical_p": 0.95, "epsilon_cutoff": 0.01},
    "eta_cutoff": {"eta_cutoff": 0.1, "top_h": 0.9},
    "penalty": {"repetition_penalty": 1.8, "suppress_tokens": [3, 4], "top_k": 12},
}


def reference_probabilities(ids: NDArray[np.int64], options: dict[str, Any]) -> NDArray[np.float64]:
    """The distribution that transformers' ``generate`` draws the first token from."""
    inputs = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.ones(ids.shape, dtype=torch.long)}
    output = model("gpt2").generate(
        **inputs, **options, do_sample=True, max_new_tokens=1, return_dict_in_generate=True, output_scores=True
    )
    probabilities: NDArray[np.float64] = output.scores[0][0].double().softmax(-1).numpy()
    return probabilities


@pytest.mark.parametrize("name", OPTIONS)
def test_draws_follow_the_distribution_of_transformers(name: str) -> None:
    ids, mask = batch("gpt2", (6,))
    decoder = TorchDecoder(model("gpt2"))
    options = {"do_sample": True, "max_new_tokens": 1, "num_return_sequences": DRAWS, "seed": 11, **OPTIONS[name]}
    (found,) = generate(decoder, ids, mask, generation_config(decoder, {}, options))
    expected = reference_probabilities(ids, OPTIONS[name]) * DRAWS
    counts = np.bincount([each.token_ids[0] for each in found], minlength=len(expected))
    assert not counts[expected == 0].any()
    often = expected >= 5  # what is rarer goes together, as the test asks for
    observed = [*counts[often], counts[~often].sum()]
    wanted = [*expected[often], expected[~often].sum()]
    if wanted[-1] < 5:
        observed, wanted = observed[:-1], [*wanted[:-1]]
        wanted = [each * sum(observed) / sum(wanted) for each in wanted]
    assert len(wanted) == 1 or stats.chisquare(observed, wanted).pvalue > LEAST


def test_beams_are_drawn_without_replacement() -> None:
    scores = np.log(np.array([0.4, 0.3, 0.2, 0.1, 0.0], dtype=np.float32) + np.float32(1e-38))
    scores[4] = -np.inf
    generator = np.random.default_rng(3)
    pairs = Counter(tuple(draw_without_replacement(scores, 2, generator).tolist()) for _ in range(DRAWS))
    probability = [0.4, 0.3, 0.2, 0.1]
    expected = {
        (i, j): probability[i] * probability[j] / (1 - probability[i]) * DRAWS
        for i in range(4)
        for j in range(4)
        if i != j
    }
    assert set(pairs) == set(expected)
    assert stats.chisquare([pairs[pair] for pair in expected], list(expected.values())).pvalue > LEAST


def test_sampled_beams_are_distributed_as_those_of_transformers() -> None:
    ids, _ = batch("gpt2", (4,))
    ids = np.repeat(ids, 700, axis=0)
    mask = np.ones_like(ids)
    options = {"do_sample": True, "num_beams": 2, "max_new_tokens": 2, "top_k": 6, "temperature": 6.0}
    decoder = TorchDecoder(model("gpt2"))
    found = generate(decoder, ids, mask, generation_config(decoder, {}, {**options, "seed": 5}))
    with torch.random.fork_rng():
        torch.manual_seed(5)
        inputs = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}
        theirs = model("gpt2").generate(**inputs, **options)[:, 4:].tolist()
    ours = Counter(tuple(row[0].token_ids) for row in found)
    reference = Counter(map(tuple, theirs))
    names = [name for name in ours | reference if ours[name] + reference[name] >= 20]
    assert len(names) > 5
    table = [[counts[name] for name in names] for counts in (ours, reference)]
    assert stats.chi2_contingency(table).pvalue > LEAST


@pytest.mark.parametrize("options", [{}, {"num_beams": 3}], ids=["single", "beams"])
def test_a_seed_makes_draws_repeatable(options: dict[str, Any]) -> None:
    decoder = TorchDecoder(model("llama"))
    inputs = batch("llama", (5, 5, 3))
    options = {"do_sample": True, "max_new_tokens": 8, "top_k": 0, "temperature": 2.0, **options}

    def tokens(**seed: Any) -> list[list[int]]:
        found = generate(decoder, *inputs, generation_config(decoder, {}, options | seed))
        return [row[0].token_ids for row in found]

    assert tokens(seed=1) == tokens(seed=1)
    assert tokens(seed=1) != tokens(seed=2)
    assert tokens() != tokens()


@pytest.mark.parametrize("options", [{"num_return_sequences": 2}, {"num_beams": 3}], ids=["single", "beams"])
def test_draws_do_not_depend_on_the_size_of_the_batch(options: dict[str, Any]) -> None:
    decoder = TorchDecoder(model("llama"))
    ids, mask = batch("llama", (5, 5, 5))
    ids[1] = ids[0]
    config = generation_config(
        decoder, {}, {"do_sample": True, "max_new_tokens": 8, "temperature": 2.0, "seed": 7, **options}
    )
    together = generate(decoder, ids, mask, config)
    alone = [generate(decoder, ids[[row]], mask[[row]], config, first_row=row)[0] for row in range(3)]
    assert [[each.token_ids for each in row] for row in alone] == [[each.token_ids for each in row] for row in together]
    # Inputs that are alike do not get the same.
    assert together[0] != together[1]


def test_a_stream_draws_what_a_call_draws() -> None:
    decoder = TorchDecoder(model("llama"))
    inputs = batch("llama", (5,))
    config = generation_config(decoder, {}, {"do_sample": True, "max_new_tokens": 8, "temperature": 2.0, "seed": 7})
    ((whole,),) = generate(decoder, *inputs, config)
    assert list(stream(decoder, *inputs, config)) == whole.token_ids


def test_nothing_to_draw_from_is_an_error() -> None:
    decoder = TorchDecoder(model("gpt2"))
    config = generation_config(decoder, {}, {"do_sample": True, "suppress_tokens": list(range(VOCABULARY))})
    with pytest.raises(InputError, match="no token can be drawn"):
        generate(decoder, *batch("gpt2", (3,)), config)


def test_scores_that_an_option_makes_infinite_are_an_error() -> None:
    """PyTorch's draw is one too, with another message."""
    decoder = TorchDecoder(model("gpt2"))
    config = generation_config(decoder, {}, {"do_sample": True, "repetition_penalty": 5e-324, "max_new_tokens": 20})
    with pytest.raises(InputError, match="infinite scores"):
        generate(decoder, *batch("gpt2", (12,)), config)
