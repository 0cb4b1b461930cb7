"""New training texts out of the old ones, for the teacher to label.

Spans, masked words and neighbouring words follow Tang et al., "Distilling Task-Specific Knowledge from BERT into Simple
Neural Networks" (arXiv:1903.12136, section 3.3) and Jiao et al., "TinyBERT" (arXiv:1909.10351, algorithm 1). No text
from elsewhere is used: a replacement is a word of the teacher's own vocabulary.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

__all__ = ["Augmenter", "detokenize", "random_span"]

_MASK = "[MASK]"
_LINKS = (",", "and", "but", ".", ". but", "though")
_ENDINGS = (".", ".", ".", "!", "!!", "...", ". . .", ",")


def random_span(words: Sequence[str], rng: Random) -> list[str]:
    """A run of consecutive words, at least one; short runs come more often than long ones."""
    length = 1 + int(len(words) * rng.random() ** 1.5)
    start = rng.randrange(len(words) - min(length, len(words)) + 1)
    return list(words[start : start + length])


def detokenize(words: Sequence[str], rng: Random) -> str:
    """Write a treebank sentence as people would.

    The treebank writes `does n't`, `` quotes '' and no full stop; people write "doesn't" and end with a full stop or
    an exclamation mark. Upper case is not added: the tokenizer lower-cases.
    """
    text = ""
    for word in words:
        attached = word == "n't" or (word.startswith("'") and word[1:].isalpha())
        text += word if attached or not text else f" {word}"
    text = text.replace("``", '"').replace("''", '"')
    if rng.random() < 0.2:
        text = text.replace("'", "\N{RIGHT SINGLE QUOTATION MARK}")
    if rng.random() < 0.6:
        text += rng.choice(_ENDINGS)
    return text


@dataclass(frozen=True)
class Augmenter:
    """Draws new texts from a set of sentences.

    Attributes:
        sentences: The words of each sentence.
        neighbors: Word to the words nearest in meaning.
        words: Words to put anywhere, so that each of the vocabulary is seen now and then.
    """

    sentences: Sequence[Sequence[str]]
    neighbors: Mapping[str, Sequence[str]]
    words: Sequence[str]

    def draw(self, rng: Random) -> list[str]:
        """The words of one new text."""
        text = random_span(rng.choice(self.sentences), rng)
        kind = rng.random()
        if kind < 0.25:
            return text
        if kind < 0.40:
            return [*text[-12:], *rng.choice(_LINKS).split(), *random_span(rng.choice(self.sentences), rng)[:12]]
        if kind < 0.55:
            return [_MASK if rng.random() < 0.15 else word for word in text]
        if kind < 0.85:
            return [self._neighbor(word, rng) if rng.random() < 0.3 else word for word in text]
        return [rng.choice(self.words) if rng.random() < 0.25 else word for word in text]

    def _neighbor(self, word: str, rng: Random) -> str:
        near = self.neighbors.get(word)
        return rng.choice(near) if near else word
