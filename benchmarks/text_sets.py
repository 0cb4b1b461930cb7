"""Lists of texts of mixed lengths: sentences of reviews, short titles, and a mix of all lengths a model takes."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

# Real texts, which lie beside the repository.
DATA = Path(__file__).parents[2] / "shared" / "data"
SEED = 0
SHORTEST, LONGEST = 8, 512
# The log-normal mix: half of its texts have less than `_MEDIAN` tokens, and its tail reaches the longest.
_MEDIAN, _SIGMA = 64, 1.0


@dataclass(frozen=True)
class TextSet:
    """Texts, and how many tokens each has, special ones included."""

    name: str
    texts: list[str]
    lengths: list[int]


def text_sets(data: Path, tokenizer_file: Path, tokens: int, least: int) -> list[TextSet]:
    """The three sets, each of texts drawn until there are enough; the same ones every time.

    Args:
        data: Folder of sst2/dev.tsv and wikiann/dev.conll. A set whose file is not there is left out.
        tokenizer_file: The model's tokenizer.json.
        tokens: How many a set has at least.
        least: How many texts a set has at least.
    """
    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    drawn: list[tuple[str, Iterator[str]]] = []
    for name, file, read in (("sst2", "sst2/dev.tsv", _sst2), ("wikiann", "wikiann/dev.conll", _wikiann)):
        if (data / file).is_file():
            texts = read((data / file).read_text(encoding="utf-8"))
            random.Random(SEED).shuffle(texts)
            drawn.append((name, iter(texts)))
    drawn.append((f"log-normal, {SHORTEST} to {LONGEST}", _log_normal(tokenizer)))
    return [_draw_until(name, texts, lambda text: len(tokenizer.encode(text)), tokens, least) for name, texts in drawn]


def _draw_until(name: str, texts: Iterator[str], count: Callable[[str], int], tokens: int, least: int) -> TextSet:
    drawn_set = TextSet(name, [], [])
    for text in texts:
        length = count(text)
        if length <= LONGEST:
            drawn_set.texts.append(text)
            drawn_set.lengths.append(length)
        if sum(drawn_set.lengths) >= tokens and len(drawn_set.texts) >= least:
            break
    return drawn_set


def _sst2(content: str) -> list[str]:
    return [line.rpartition("\t")[0].strip() for line in content.splitlines() if "\t" in line]


def _wikiann(content: str) -> list[str]:
    """Sentences of a CoNLL file whose words have their language before them, ``en:Sioux``."""
    sentences = ([line.partition("\t")[0] for line in block.splitlines()] for block in content.split("\n\n"))
    return [" ".join(word.partition(":")[2] for word in words) for words in sentences if words]


def _log_normal(tokenizer: Tokenizer) -> Iterator[str]:
    """Texts without end, of words that are one token each."""
    words = sorted(word for word in tokenizer.get_vocab() if len(word) > 2 and word.isascii() and word.isalpha())
    generator = random.Random(SEED)
    specials = tokenizer.num_special_tokens_to_add(is_pair=False)
    while True:
        length = round(generator.lognormvariate(0, _SIGMA) * _MEDIAN)
        if SHORTEST <= length <= LONGEST:
            yield " ".join(generator.choices(words, k=length - specials))
