"""The page of documentation about models that generate; :mod:`tests.tiny.coverage` measures and writes it."""

from __future__ import annotations

from collections.abc import Mapping

from tests.tiny.generation import BATCHES, SEARCHES
from tests.tiny.generative import DECODERS
from tests.tiny.measurement import Cell

# What people look for under another name than the family's.
_CALLED = {
    "openai-gpt": "GPT",
    "deepseek_v3": "DeepSeek-V3, R1, with latent attention",
    "gemma3_text": "Gemma 3, text",
    "m2m_100": "M2M-100, NLLB",
    "t5-gated": "T5 1.1, Flan-T5",
    "mbart": "mBART, mBART-50",
}

_HEAD = """\
# Models that generate

Made by `make coverage`, not by hand, with
{versions}.

One row a family: a tiny model with random weights, exported once. *Scores*: the largest difference from PyTorch (fp32,
eager) of the scores of any next token, over eight steps of a batch of mixed lengths. *Tokens*: whether in all
{cases} cases every token is that of `transformers.generate`: {searches}, texts alone and in a batch of mixed lengths.

"""

_NOTES = """
Families that are not listed are not refused: an export compares scores and tokens with PyTorch before it writes
anything. Transformer-XL left transformers.

## Same numbers, other code

- XLNet is stepped as transformers steps it: with `mems`, the last two tokens and a token whose place is predicted, and
  without a mask, so that padding is read like any token. What a prompt gives depends on its batch; batches are those
  of transformers, in the order of the inputs. `use_mems` is not an option: `use_mems_eval` of the config holds.
- Reformer's prompts and steps are computed as full attention in which tokens count as often as the chunks of
  transformers have them, so that memory grows with the square of a prompt. Padding is read like any token, as in
  transformers. With hashed attention (`lsh`) inputs are written one at a time, for in transformers all rows of a batch
  read the states of the first one there; so beams do here too. Once hashes times buckets times tokens pass 2^24,
  transformers sorts by rounded numbers behind a prompt of one chunk; here they are whole.
- GPT-OSS has sinks beside the scores of attention, DeepSeek caches what keys and values are made of, and JetMoE has
  attention of its own: each of their steps copies the cache. That of others lies in one buffer.
- LED's encoder is computed as full attention with a mask: memory grows with the square of the length.
- ProphetNet's decoder takes one token at a time, also at the first step.
- BigBird-Pegasus's encoder has full attention, as in PyTorch up to (5 + 2 `num_random_blocks`) `block_size` tokens (704
  by default).

## Lengths at which a model changes

- Phi-3, Phi-3.5, Phi-4-mini and Phi-MoE with the rope type `longrope` drop their cache behind
  `original_max_position_embeddings`, and read the text again with the long factors, as transformers does. That step
  takes as long as a prompt. Other models with `longrope` go on with their cache, also as in transformers.
- With `longrope`, the longest row of a batch changes the positions of all rows in transformers. Here a text writes
  what it writes alone: texts that pass the length while they are written share a batch only with texts of their length.
- Windows, chunks and the like are read from the config, and each export is compared across them: see
  [what parity means](../explanation/parity.md#across-the-lengths-at-which-a-model-changes).

## Refused

Before the weights are read, by the config alone:

- caches with more than keys and values: the states of convolutions and recurrences (LFM2, Mamba, Granite-4 and
  Falcon-H1 hybrids, Jamba, Bamba, Zamba, Qwen3-Next, Qwen3.5, Kimi-Linear, Nemotron-H, MiniMax, RecurrentGemma, RWKV,
  xLSTM), an index of tokens (DeepSeek-V3.2), or layers that read the keys of others (Gemma 3n). Granite-4 and LFM2 with
  layers of attention alone are not refused.
- Switch Transformers and NLLB-MoE, whose router leaves tokens out by counting them over a text or a batch.
- The rope type `dynamic`: behind `max_position_embeddings` positions depend on what the model has read before.

## Tokenizers in Python

Those of Marian, M2M-100, CTRL, Blenderbot-small, ProphetNet and ByT5 are converted to a tokenizer.json, and every
export proves ids and decoded texts on a corpus of many scripts. What differs, for texts that these models are not made
for:

- Marian: a source's run of characters that `source.spm` does not know is one unknown token; transformers looks it up
  among the pieces of the target. A piece of `source.spm` that `vocab.json` lacks is divided into smaller ones; to
  transformers it is unknown. The bundle's tokenizer reads sources and decodes targets: it does not tokenize targets,
  which no pipeline does. A language code counts wherever it stands in a text.
- CTRL, Blenderbot-small: a word that ends in a part without an id is unknown to transformers; here it gets an id that
  the model does not take, which is an error.
"""


def render_generation(cells: Mapping[str, Cell], versions: str) -> str:
    """The page, from the cell of each family."""
    tables = []
    for title, is_decoder in (("Decoders", True), ("Encoder-decoders", False)):
        chosen = [family for family in cells if (family in DECODERS) == is_decoder]
        tables += [f"## {title}", "", "| family | scores | tokens |", "|---|---|---|"]
        tables += [f"| {_shown(family)} {_row(cells[family])}" for family in chosen]
        tables.append("")
    cases = len(SEARCHES) * sum(map(len, BATCHES))
    return _HEAD.format(versions=versions, cases=cases, searches=" and ".join(SEARCHES)) + "\n".join(tables) + _NOTES


def _row(cell: Cell) -> str:
    if cell.refused is not None or cell.failed is not None:
        return f"| | **no**: {cell.refused or cell.failed} |"
    same = sum(cell.calls[search] is None for search in SEARCHES)
    return f"| {cell.largest:.0e} | {'all' if same == len(SEARCHES) else same} |"


def _shown(family: str) -> str:
    return f"{family} ({_CALLED[family]})" if family in _CALLED else family
