"""What transformers' ``generate`` takes: taken where it changes no token, else said what to do instead."""

from __future__ import annotations

from inspect import signature
from typing import Any

import numpy as np
import pytest
import torch
from transformers import GenerationConfig as Reference
from transformers import GenerationMixin

from edgepipe.errors import InputError
from edgepipe.generation.config import CHECKS
from edgepipe.generation.config_sources import generation_config, read_generation_config
from edgepipe.generation.generate import generate
from edgepipe.generation.generate_options import GENERATE_OPTIONS, UNSUPPORTED_OPTIONS
from tests.runtime.generation.models import ENDS, batch, model
from tests.runtime.generation.option_decoder import decoder
from tests.runtime.generation.torch_decoder import TorchDecoder

# Options of the tasks that write; see edgepipe.pipelines.generative.
OF_THE_TASKS = {"generation_config", "streamer"}
SEARCH = {"max_new_tokens": 9, "do_sample": False, **ENDS}


def known() -> set[str]:
    return {*CHECKS, *GENERATE_OPTIONS, *UNSUPPORTED_OPTIONS, *OF_THE_TASKS}


def test_every_option_of_a_generation_config_is_known() -> None:
    asked = {name for name in vars(Reference()) if not name.startswith("_")} - {"transformers_version"}
    missing = asked - known()
    assert not missing, f"transformers' GenerationConfig has {missing}: build them, or say what to do instead"


def test_every_argument_of_generate_is_known() -> None:
    asked = {each.name for each in signature(GenerationMixin.generate).parameters.values() if each.name != "self"}
    missing = asked - {"kwargs"} - known()
    assert not missing, f"transformers' generate takes {missing}: build them, or say what to do instead"


def test_no_option_is_known_twice() -> None:
    assert len(known()) == len(CHECKS) + len(GENERATE_OPTIONS) + len(UNSUPPORTED_OPTIONS) + len(OF_THE_TASKS)


TAKEN: list[dict[str, Any]] = [
    {"use_cache": False},
    {"use_cache": True, "logits_to_keep": 1},
    {"cache_implementation": "dynamic"},
    {"cache_implementation": "static", "disable_compile": True, "max_cache_len": 64},
    {"prefill_chunk_size": 4},
    {"synced_gpus": False, "constraints": None, "guidance_scale": None, "use_mtp": False},
    {"num_assistant_tokens": 3, "max_matching_ngram_size": 2, "assistant_lookbehind": 4, "target_lookbehind": 4},
    {"prompt_lookup_num_tokens": 3},
    {"return_dict_in_generate": False, "output_scores": False, "output_attentions": None},
    {"logits_processor": [], "stopping_criteria": [], "custom_generate": None, "penalty_alpha": 0.0},
    {"token_healing": False, "force_words_ids": None, "dola_layers": None, "low_memory": None},
]


@pytest.mark.parametrize("options", TAKEN, ids=str)
@pytest.mark.filterwarnings("ignore")
def test_what_changes_no_token_is_taken(options: dict[str, Any]) -> None:
    ids, mask = batch("llama", (7,))
    made = TorchDecoder(model("llama"))
    ((found,),) = generate(made, ids, mask, generation_config(made, {}, SEARCH | options))
    expected = model("llama").generate(
        input_ids=torch.from_numpy(ids), attention_mask=torch.from_numpy(mask), **SEARCH | options
    )
    assert found.token_ids == expected[0, ids.shape[1] :].tolist()


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"use_cache": "yes"}, "use_cache='yes' is not taken: pass True, False or None"),
    ({"cache_implementation": "quantized"}, "cache_implementation='quantized' is not taken: it would round keys"),
    ({"cache_config": {"nbits": 4}}, "cache_config=.* is not taken: it is for caches of PyTorch"),
    ({"output_scores": True}, "output_scores=True is not taken: a result is text or token ids"),
    ({"assistant_model": object()}, "assistant_model=.* is not taken: it changes no token; leave it out"),
    ({"force_words_ids": [[3]]}, "force_words_ids=.* is not taken: edgepipe has no constrained beam search; pass pre"),
    ({"dola_layers": "low"}, "dola_layers='low' is not taken: edgepipe has no DoLa decoding"),
    ({"token_healing": True}, "token_healing=True is not taken: edgepipe heals no tokens; end the prompt"),
    ({"custom_generate": "a/b"}, "custom_generate='a/b' is not taken: a bundle runs no code"),
    ({"input_ids": [[3]]}, r"input_ids=\[\[3\]\] is not taken: a pipeline makes it of the text"),
    ({"low_memory": True}, r"low_memory=True is not taken: give it to pipeline\(\)"),
]


@pytest.mark.parametrize(("options", "message"), REFUSED, ids=lambda value: f"{value!r:.40}")
def test_what_would_change_tokens_says_what_to_do(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        generation_config(decoder(), {}, options)
    with pytest.raises(InputError, match=message):
        generation_config(decoder(), {}, {}, given=read_generation_config(options))


def test_a_checkpoint_is_refused_for_what_changes_tokens_alone() -> None:
    assert generation_config(decoder({"output_scores": True, "cache_implementation": "quantized"}), {}, {})
    with pytest.raises(InputError, match=r"penalty_alpha=0\.6 is not taken"):
        generation_config(decoder({"penalty_alpha": 0.6}), {}, {})


def test_the_advice_is_there_where_a_value_can_be_refused() -> None:
    for name, option in (GENERATE_OPTIONS | UNSUPPORTED_OPTIONS).items():
        taken = [option.changes_nothing(value) for value in (object(), np.zeros(3), "text", -1, True)]
        assert option.changes_nothing(None)
        assert option.advice or all(taken), name
