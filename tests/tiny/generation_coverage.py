"""Which families of models write exactly what transformers writes, as a page of documentation::

    python -m tests.tiny.generation_coverage > docs/reference/generation-models.md

Every tiny model is exported and compared with PyTorch, on all cores; that takes minutes. Names of families as arguments
leave out the others.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path

from edgepipe.errors import EdgepipeError
from tests.tiny.coverage import PACKAGES
from tests.tiny.generation import BATCHES, SEARCHES, compare_tokens, export_generative, largest_difference
from tests.tiny.generative import DECODERS, FAMILIES

# What people look for under another name than the family's.
_CALLED = {
    "openai-gpt": "GPT",
    "gemma3_text": "Gemma 3, text",
    "m2m_100": "M2M-100, NLLB",
    "t5-gated": "T5 1.1, Flan-T5",
    "mbart": "mBART, mBART-50",
}

_HEAD = """\
# Models that generate

Made by `python -m tests.tiny.generation_coverage > docs/reference/generation-models.md`, not by hand, with
{versions}.

One row a family: a tiny model with random weights, exported once. *Scores*: the largest difference from PyTorch (fp32,
eager) of the scores of any next token, over eight steps of a batch of mixed lengths. *Tokens*: in how many of {cases}
cases every token is that of `transformers.generate`: {searches}, texts alone and in a batch of mixed lengths.

"""

_NOTES = """
Families that are not listed are not refused: an export compares scores and tokens with PyTorch before it writes
anything. Transformer-XL left transformers.

## Same numbers, other code

- XLNet is stepped as transformers steps it: with `mems`, the last two tokens and a token whose place is predicted, and
  without a mask, so that padding is read like any token. What a prompt gives depends on its batch; batches are those
  of transformers, in the order of the inputs. `use_mems` is not an option: `use_mems_eval` of the config holds.
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
- The rope type `dynamic` is refused.
- Windows, chunks and the like are read from the config, and each export is compared across them: see
  [what parity means](../explanation/parity.md#across-the-lengths-at-which-a-model-changes).

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


def main() -> None:
    """Write the page to standard output, and progress to standard error."""
    families = sys.argv[1:] or list(FAMILIES)
    started = time.monotonic()
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as workers:
        rows = dict(zip(families, workers.map(_row, families), strict=True))
    print(_page(rows), end="")
    print(f"{time.monotonic() - started:.0f} s", file=sys.stderr)


def _row(family: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        try:
            model, tokenizer, bundle = export_generative(family, Path(folder))
            difference = largest_difference(model, tokenizer, bundle)
            tokens = compare_tokens(model, tokenizer, bundle)
        except (EdgepipeError, RuntimeError, ValueError, LookupError) as error:
            cells = f"| | **no**: {str(error).splitlines()[0]} |"
        else:
            same = tokens.compared - len(tokens.failures)
            cells = f"| {difference:.0e} | {same} of {tokens.compared} |"
    print(f"{family} {cells}", file=sys.stderr, flush=True)
    return cells


def _page(rows: dict[str, str]) -> str:
    tables = []
    for title, is_decoder in (("Decoders", True), ("Encoder-decoders", False)):
        chosen = [family for family in rows if (family in DECODERS) == is_decoder]
        tables += [f"## {title}", "", "| family | scores | tokens |", "|---|---|---|"]
        tables += [f"| {_shown(family)} {rows[family]}" for family in chosen]
        tables.append("")
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    cases = len(SEARCHES) * sum(map(len, BATCHES))
    return _HEAD.format(versions=versions, cases=cases, searches=" and ".join(SEARCHES)) + "\n".join(tables) + _NOTES


def _shown(family: str) -> str:
    return f"{family} ({_CALLED[family]})" if family in _CALLED else family


if __name__ == "__main__":
    main()
