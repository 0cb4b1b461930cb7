"""Texts as nobody writes them: all scripts, marks, zero-width, surrogates, control characters, very long ones."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

CORPUS = (Path(__file__).parents[1] / "data" / "corpus.txt").read_text(encoding="utf-8")
WORDS = CORPUS.split()

# First and last code point of blocks, each script about as often as any other.
SCRIPTS = (
    (0x20, 0x7E), (0xA0, 0xFF), (0x100, 0x24F), (0x250, 0x2AF), (0x370, 0x3FF), (0x400, 0x52F), (0x530, 0x58F),
    (0x590, 0x5FF), (0x600, 0x6FF), (0x700, 0x74F), (0x780, 0x7BF), (0x7C0, 0x7FF), (0x900, 0x97F), (0x980, 0x9FF),
    (0xA00, 0xA7F), (0xA80, 0xAFF), (0xB00, 0xB7F), (0xB80, 0xBFF), (0xC00, 0xC7F), (0xC80, 0xCFF), (0xD00, 0xD7F),
    (0xD80, 0xDFF), (0xE00, 0xE7F), (0xE80, 0xEFF), (0xF00, 0xFFF), (0x1000, 0x109F), (0x10A0, 0x10FF),
    (0x1100, 0x11FF), (0x1200, 0x137F), (0x13A0, 0x13FF), (0x1400, 0x167F), (0x1680, 0x169F), (0x16A0, 0x16FF),
    (0x1780, 0x17FF), (0x1800, 0x18AF), (0x1E00, 0x1EFF), (0x1F00, 0x1FFF), (0x2000, 0x206F), (0x2070, 0x209F),
    (0x20A0, 0x20CF), (0x2100, 0x214F), (0x2150, 0x218F), (0x2190, 0x22FF), (0x2460, 0x24FF), (0x2500, 0x27BF),
    (0x2C00, 0x2C5F), (0x2C80, 0x2CFF), (0x2D30, 0x2D7F), (0x2E80, 0x2FDF), (0x3000, 0x303F), (0x3040, 0x30FF),
    (0x3100, 0x312F), (0x3130, 0x318F), (0x3200, 0x33FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xA000, 0xA48F),
    (0xA840, 0xA87F), (0xAC00, 0xD7A3), (0xF900, 0xFAFF), (0xFB00, 0xFB4F), (0xFB50, 0xFDFF), (0xFE70, 0xFEFE),
    (0xFF00, 0xFFEF), (0xFFF0, 0xFFFF), (0x10000, 0x1007F), (0x10300, 0x1034F), (0x10400, 0x1044F),
    (0x12000, 0x123FF), (0x13000, 0x1342F), (0x1D100, 0x1D1FF), (0x1D400, 0x1D7FF), (0x1E900, 0x1E95F),
    (0x1EE00, 0x1EEFF), (0x1F000, 0x1F0FF), (0x1F100, 0x1F2FF), (0x1F300, 0x1FAFF), (0x20000, 0x2A6DF),
    (0x2F800, 0x2FA1F), (0xE0000, 0xE007F), (0xE0100, 0xE01EF), (0x10FFF0, 0x10FFFF),
)  # fmt: skip
MARKS = ((0x300, 0x36F), (0x483, 0x489), (0x591, 0x5BD), (0x64B, 0x65F), (0x93A, 0x94D), (0xE31, 0xE3A),
         (0x1AB0, 0x1ACE), (0x1DC0, 0x1DFF), (0x20D0, 0x20F0), (0x3099, 0x309A), (0xFE00, 0xFE0F),
         (0xFE20, 0xFE2F), (0xE0100, 0xE01EF))  # fmt: skip
BLANKS = " \t\n\r\v\f\x85\xa0\u1680\u2000\u2003\u2007\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
INVISIBLE = "\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2061\u2066\u2069\ufeff\xad\u034f\u180e"
# What tokenizers have special rules for.
ODD = (
    "[MASK]", "<mask>", "[CLS]", "[SEP]", "[PAD]", "[UNK]", "<s>", "</s>", "<pad>", "<unk>", "<|endoftext|>",
    "<extra_id_0>", "|||IP_ADDRESS|||", "▁", "Ġ", "Ċ", "##", "##ing", "</w>", "<0x0A>", "<0xFF>", "en_XX", "eng_Latn",
    "don't", "can't", "'s", "''", "``", "...", "…", "--", "_", "@@", "1,234.56", "3.14e-10", "http://a.b/c?d=e&f#g",
    "İ", "ı", "ß", "ẞ", "ﬁ", "ﬀ", "ǅ", "Ω", "Å", "ℵ", "①", "㎏", "％", "ａｂｃ", "ﷺ", "𝒜𝓑", "e\u0301", "n\u0308\u0323",  # noqa: RUF001
    "क्षि", "한국어", "שָׁלוֹם", "مُحَمَّد", "กำ", "ປຳ", "かﾞ", "ｶﾞ", "\r\n", "\n\n\n", "    ", "\t\t",
)  # fmt: skip
EMOJI = (
    "😀", "👍🏽", "👩\u200d👩\u200d👧\u200d👦", "🏳️\u200d🌈", "🇫🇷", "🇫🇷🇩", "1️⃣", "❤️", "☎︎", "👨🏿\u200d🚀",
    "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
    "👩\u200d", "\u200d👧", "🏽", "\ufe0f",
)  # fmt: skip


def _between(draw: random.Random, ranges: tuple[tuple[int, int], ...]) -> str:
    first, last = draw.choice(ranges)
    return chr(draw.randint(first, last))


def _characters(draw: random.Random, alphabet: str, most: int = 4) -> str:
    return "".join(draw.choice(alphabet) for _ in range(draw.randint(1, most)))


def _one_script(draw: random.Random) -> str:
    first, last = draw.choice(SCRIPTS)
    return "".join(chr(draw.randint(first, last)) for _ in range(draw.randint(1, 12)))


def _any_characters(draw: random.Random) -> str:
    found = (draw.randint(0, 0x10FFFF) for _ in range(draw.randint(1, 6)))
    return "".join(chr(point) for point in found if not 0xD800 <= point <= 0xDFFF)


def _marked(draw: random.Random) -> str:
    return _between(draw, SCRIPTS) + "".join(_between(draw, MARKS) for _ in range(draw.randint(1, 5)))


def _repeated(draw: random.Random) -> str:
    return draw.choice((_between(draw, SCRIPTS), draw.choice(ODD), draw.choice(BLANKS))) * draw.randint(2, 150)


PIECES: tuple[tuple[int, Callable[[random.Random], str]], ...] = (
    (24, lambda draw: draw.choice(WORDS)),
    (12, _one_script),
    (4, _any_characters),
    (8, _marked),
    (8, lambda draw: draw.choice(ODD)),
    (6, lambda draw: draw.choice(EMOJI)),
    (4, lambda draw: _characters(draw, BLANKS)),
    (4, lambda draw: _characters(draw, INVISIBLE)),
    (2, lambda draw: _characters(draw, "".join(map(chr, [*range(32), *range(0x7F, 0xA0)])))),
    (2, lambda draw: chr(draw.choice((draw.randint(0xE000, 0xF8FF), draw.randint(0xF0000, 0x10FFFD))))),
    (1, _repeated),
    (3, lambda draw: str(draw.randint(0, 10 ** draw.randint(1, 25)))),
    (3, lambda draw: "".join(draw.sample(draw.choice(WORDS), 1)) + draw.choice(WORDS).upper()),
)
_WEIGHTS, _MAKERS = zip(*PIECES, strict=True)

# How often, of so many texts, one is of this kind.
_SURROGATE_IN, _LONG_IN, _EMPTY_IN = 200, 4000, 60
LONGEST = 100_000


def make_text(draw: random.Random, pieces: int = 12, *, surrogates: bool = True, long: bool = True) -> str:
    """A text.

    Args:
        draw: What it is drawn from.
        pieces: The most words, or what goes for one.
        surrogates: Whether one of 200 has half a character somewhere.
        long: Whether one of 4,000 has 100,000 characters.
    """
    if draw.randrange(_EMPTY_IN) == 0:
        return ""
    if long and draw.randrange(_LONG_IN) == 0:
        return _long_text(draw)
    text = _join(draw, draw.randint(1, pieces))
    if surrogates and draw.randrange(_SURROGATE_IN) == 0:
        at = draw.randint(0, len(text))
        text = text[:at] + chr(draw.randint(0xD800, 0xDFFF)) + text[at:]
    return text


def _join(draw: random.Random, pieces: int) -> str:
    found: list[str] = []
    for maker in draw.choices(_MAKERS, _WEIGHTS, k=pieces):
        found.append(maker(draw))
        if draw.random() < 0.6:
            found.append(" ")
    return "".join(found)


def _long_text(draw: random.Random) -> str:
    """100,000 characters: of one word without end, of one piece again and again, or of all that there is."""
    unit = draw.choice((
        lambda: draw.choice(WORDS),
        lambda: draw.choice(WORDS) + " ",
        lambda: _between(draw, SCRIPTS),
        lambda: _join(draw, 3),
        lambda: _join(draw, 400),
    ))()  # fmt: skip
    unit = unit or "a"
    return (unit * (LONGEST // len(unit) + 1))[:LONGEST]
