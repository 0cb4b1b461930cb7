"""The options ``json_schema``, ``regex`` and ``choices`` as a grammar of llguidance's, which accepts whole texts.

The syntax is Lark's with llguidance's additions:
https://github.com/guidance-ai/llguidance/blob/main/docs/syntax.md.
"""

from __future__ import annotations

import json
from typing import Any

from edgepipe.errors import DependencyError, InputError, first_line, is_panic
from edgepipe.generation.logits.constraints.schema_checks import check_schema

# Without it the engine would write what must follow with tokens of its own choice, where the model may prefer others.
_HEADER = '%llguidance {"no_forcing": true}\n'

# How the engine is to read schemas. A schema may have the same entry, which is dropped: it could switch checks off.
_ENGINE_KEY = "x-guidance"
_JSON_OPTIONS = {
    "whitespace_flexible": True,
    # Enough to indent with; without a bound a model may write blanks to the end.
    "whitespace_pattern": r"[\x20\x0A\x0D\x09]{1,40}",
    "lenient": False,
    "coerce_one_of": False,
}

# The longest grammar in characters: what llguidance makes of one is some hundred times as large.
LONGEST_GRAMMAR = 1_000_000


def import_llguidance() -> Any:
    """The engine.

    Raises:
        DependencyError: it is not installed.
    """
    try:
        import llguidance
    except ImportError as error:
        raise DependencyError(
            f"json_schema, regex and choices need llguidance, which cannot be imported ({error}); pip install "
            "'edgepipe[guided]'"
        ) from error
    return llguidance


class _PanicConversion:
    """What :func:`convert_engine_panics` gives; a generator would take five times as long, twice a token."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is not None and is_panic(error):
            raise InputError(
                f"json_schema, regex or choices had llguidance fail ({first_line(error)}); make it simpler, or leave "
                "it out"
            ) from error


_conversion = _PanicConversion()


def convert_engine_panics() -> _PanicConversion:
    """Around calls into the engine: a panic is no ``Exception``, and would end a thread that writes for others, too.

    Raises:
        InputError: the engine panicked.
    """
    return _conversion


def write_json_grammar(schema: str) -> str:
    """The grammar of all JSON that a schema describes, objects with their properties in the schema's order.

    Args:
        schema: The schema as JSON.

    Raises:
        InputError: the engine cannot hold a text to the schema.
    """
    _check_length("json_schema", schema)
    try:
        parsed: Any = json.loads(schema)
    except RecursionError:
        raise InputError("json_schema is nested too deeply; use $defs and $ref") from None
    if parsed is True:
        parsed = {}
    check_schema(parsed)
    return f"{_HEADER}start: %json {json.dumps({**parsed, _ENGINE_KEY: _JSON_OPTIONS})}\n"


def write_regex_grammar(regex: str) -> str:
    """The grammar of all texts that a regular expression matches as a whole.

    Raises:
        DependencyError: llguidance is not installed.
        InputError: it is too long.
    """
    _check_length("regex", regex)
    # As Python has it, \d and \w stand for the digits and letters of all scripts.
    quoted = import_llguidance().regex_to_lark(regex, "")
    return f"{_HEADER}start: TEXT\nTEXT: /{quoted}/\n"


def write_choice_grammar(choices: tuple[str, ...]) -> str:
    """The grammar of some texts, and no others.

    Raises:
        InputError: they are too long.
    """
    quoted = " | ".join(json.dumps(choice, ensure_ascii=False) for choice in dict.fromkeys(choices))
    _check_length("choices", quoted)
    return f"{_HEADER}start: TEXT\nTEXT: {quoted}\n"


def _check_length(name: str, text: str) -> None:
    if len(text) > LONGEST_GRAMMAR:
        raise InputError(f"{name} has {len(text)} characters, and can have {LONGEST_GRAMMAR} at most; make it simpler")
