"""sentencepiece's normal forms in the words of tokenizer.json.

sentencepiece replaces what its table (``precompiled_charsmap``) has, from left to right, the longest first, and looks
at nothing twice. The table has characters, and letters with all their marks in one order. ``Precompiled`` of tokenizers
takes a character with all its marks at once, and may lose some; ``NFC`` composes a letter with a mark behind another
mark, and puts marks in order. So characters are kept apart while the one looks at them, and marks while the other does,
where the table does not have them together.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import cache

from tokenizers import Regex, normalizers

# Private characters of the last plane, which no text has.
_BETWEEN_MARKS, _BETWEEN_CHARACTERS = "\U0010fffb", "\U0010fffc"
# Marks that are others by another name.
_ALIASES = {"\u0300": "\u0340", "\u0301": "\u0341", "\u0313": "\u0343"}
# A mark that is two.
_DOUBLE = "\u0344"
# What `Precompiled` takes together with the character before it: marks, joiners, tones of skin, voicing, Jamo.
_VOICING = "\uff9e\uff9f"
_EXTENDING = f"(?<=.)(?=[\\p{{M}}\u200c\u200d\U0001f3fb-\U0001f3ff{_VOICING}\u1160-\u11ff])"
# Marks, and characters with them, are below.
_LAST = 0x30000


def normalize_as_sentencepiece(charsmap: bytes, normalize: Callable[[str], str]) -> normalizers.Normalizer:
    """The steps that give what a sentencepiece model gives.

    Args:
        charsmap: Its table.
        normalize: What it makes of a text, with its mark for blanks.
    """
    blocked = Regex(_find_boundaries(normalize))
    return normalizers.Sequence(
        [
            normalizers.Replace(blocked, _BETWEEN_MARKS),
            normalizers.Replace(Regex(_EXTENDING), _BETWEEN_CHARACTERS),
            normalizers.Precompiled(charsmap),
            normalizers.Replace(_BETWEEN_CHARACTERS, ""),
            normalizers.NFC(),
            normalizers.Replace(_BETWEEN_MARKS, ""),
        ]
    )


def _find_boundaries(normalize: Callable[[str], str]) -> str:
    """A regular expression of the places before marks at which nothing may be composed or put into order.

    Characters stand in it as they are: each engine has its own way to write them by number.
    """
    classes, marked, ending, composed = _marks()
    together: dict[tuple[str, str], set[str]] = defaultdict(set)
    for letter, rest, whole in composed:
        if normalize(letter + rest)[1:] != whole:
            continue
        for index in range(len(rest)):
            if index or letter in marked:
                together[rest[:index], rest[index]].add(letter)
    every = [mark for members in classes.values() for mark in members]
    unless = "".join(f"(?!(?<={_class_of(letters)}{first}){mark})" for (first, mark), letters in together.items())
    others = "|".join(f"(?<={each})(?!{each})" for each in map(_class_of, classes.values()))
    before_marks = (
        f"(?={_class_of(every)})(?<={_class_of([*every, *marked])}){unless}(?:{others}|(?<={_class_of(marked)}))"
    )
    behind_ends = f"(?<={_class_of(ending)})(?={_class_of([*every, *_VOICING])})"
    return f"{before_marks}|{behind_ends}|(?={_DOUBLE})"


@cache
def _marks() -> tuple[dict[int, list[str]], frozenset[str], frozenset[str], tuple[tuple[str, str, str], ...]]:
    """Characters with marks.

    Returns:
        Marks by their class; letters that have one already; what ends in one when it is replaced (as U+02DC does, a
        blank with a tilde); and letters and several marks, with what they compose to.
    """
    classes: dict[int, list[str]] = defaultdict(list)
    marked, ending, composed = set(), set(), []
    for number in (*range(0xD800), *range(0xE000, _LAST)):
        character = chr(number)
        if order := unicodedata.combining(character):
            classes[order].append(character)
        parts = unicodedata.normalize("NFD", character)
        if len(parts) > 1 and unicodedata.combining(parts[-1]) and not unicodedata.combining(parts[0]):
            marked.add(character)
            whole = unicodedata.normalize("NFKC", character)
            composed += [(letter, rest, whole) for letter, rest in _divide(parts)]
        elif not unicodedata.combining(character) and unicodedata.combining(
            unicodedata.normalize("NFKD", character)[-1]
        ):
            ending.add(character)
    return dict(classes), frozenset(marked), frozenset(ending), tuple(composed)


def _divide(parts: str) -> Iterator[tuple[str, str]]:
    """A letter with the first of its marks, or none, and the others, by all their names."""
    for length in range(1, len(parts)):
        letter = unicodedata.normalize("NFC", parts[:length])
        if len(letter) != 1:
            continue
        rests = [""]
        for mark in parts[length:]:
            rests = [rest + each for rest in rests for each in (mark, *_ALIASES.get(mark, ""))]
        yield from ((letter, rest) for rest in rests)


def _class_of(characters: Iterable[str]) -> str:
    """A class of characters in a regular expression, as ranges."""
    ranges: list[list[int]] = []
    for number in sorted(map(ord, characters)):
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return "[" + "".join(chr(first) if first == last else f"{chr(first)}-{chr(last)}" for first, last in ranges) + "]"
