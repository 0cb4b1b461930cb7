"""Jinja's sandbox with bounds: a chat template is a stranger's program, and the sandbox bounds neither time nor memory.

Each turn of a loop, each call, filter and operator asks the :class:`Budget` of its rendering: whether there is time
left, and whether what it is about to make is small enough. Sizes are counted in characters and items, before anything
is made where one step could make much of little (products, repetitions, replacements, widths), afterwards elsewhere.
"""

from __future__ import annotations

import functools
import re
import string
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any

from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment

# How many seconds a template may take, how large a value may be, and all values together, in characters and items; the
# chat itself is added to both, so that a long one has room.
SECONDS = 5.0
LARGEST = 4_000_000
TOTAL = 64_000_000
# How often a template may write all of the chat anew for each message, as some do that append to one text.
_OFTEN = 8
_FEWEST_MESSAGES = 16
# The longest template, in characters; large ones have 30,000.
LONGEST_TEMPLATE = 1_000_000

# The bits of a whole number, and numbers that say how wide or how many.
_BITS = 4096
_WIDTH = 10_000
_WIDE_PERCENT = re.compile(r"%(\([^)]*\))?[-#0 +]*(\d*\.)?(\d{5,}|\*)")
_WIDE_FIELD = re.compile(r"\d{5,}|\{")
# Filters and methods of texts with such a number.
_WITH_WIDTH = frozenset(
    ("batch", "slice", "center", "indent", "wordwrap", "truncate", "urlize", "lipsum", "ljust", "rjust", "zfill")
)
# Filters that make a text, or one list, of all that is in a value.
_WHOLE = frozenset(
    ("format", "join", "replace", "string", "tojson", "pprint", "xmlattr", "urlencode", "escape", "e", "forceescape")
)


class Budget:
    """What is left to one rendering."""

    def __init__(self, given: Any, messages: int) -> None:
        """Begin now; `given` is all that the template is given, a chat of so many messages among it."""
        size = measure(given, 2**62)
        self._end = time.monotonic() + SECONDS
        self._largest = LARGEST + size
        self._left = TOTAL + _OFTEN * max(messages, _FEWEST_MESSAGES) * size

    def check_time(self) -> None:
        """Stop a template that takes too long.

        Raises:
            SecurityError: it does.
        """
        if time.monotonic() > self._end:
            raise SecurityError(f"it takes more than {SECONDS:.0f} seconds")

    def check_size(self, size: int) -> None:
        """Stop a template that is about to make something large.

        Raises:
            SecurityError: it is.
        """
        if size > self._largest:
            raise SecurityError(f"it makes a value of {size:.0e} characters or items")

    def spend(self, value: Any) -> Any:
        """Count a value that was made, and give it back.

        Raises:
            SecurityError: it is too large, or all together are.
        """
        size = len(value) if isinstance(value, (str, bytes, list, tuple, dict)) else 1
        self.check_size(size)
        self.spend_size(size)
        return value

    def spend_size(self, size: int) -> None:
        """Count what was made.

        Raises:
            SecurityError: all together is too large.
        """
        self._left -= size
        if self._left < 0:
            raise SecurityError(f"it makes more than {TOTAL:.0e} characters and items")

    def check_text_of(self, *values: Any) -> None:
        """Check the size of the text that values become, however often one is in another.

        Raises:
            SecurityError: it is too large.
        """
        self.check_size(sum(measure(value, self._largest) for value in values))


BUDGET: ContextVar[Budget] = ContextVar("BUDGET")


def measure(value: Any, most: int) -> int:
    """About how many characters the text of a value has; once it is more than `most`, any number above that."""
    size = 0
    waiting = [value]
    while waiting and size <= most:
        each = waiting.pop()
        if isinstance(each, (str, bytes)):
            size += len(each) + 2
        elif isinstance(each, Mapping):
            size += 2
            waiting += [*each.keys(), *each.values()]
        elif isinstance(each, (list, tuple, set, frozenset)):
            size += 2
            waiting += each
        else:
            size += 8 + (each.bit_length() // 3 if isinstance(each, int) else 0)
    return size


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    """The sandbox, in which a rendering asks its budget at every step."""

    intercepted_binops = frozenset(("*", "**", "+", "%"))

    def __init__(self, **options: Any) -> None:
        # Constants are not computed while a template is compiled: no budget would be asked.
        super().__init__(optimized=False, **options)
        self.guard_filters()

    def guard_filters(self) -> None:
        """Have every filter ask; to be called again when some were added."""
        filters: dict[str, Any] = self.filters
        for name, function in filters.items():
            if not hasattr(function, "_is_guarded"):
                filters[name] = _guard(name, function)
        filters |= {"_loop": _loop, "_text": _count_text, "_part": _check_part}
        known: dict[str, Any] = self.globals
        known["lipsum"] = _guard("lipsum", known["lipsum"])

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        template = super()._parse(source, name, filename)
        for loop in list(template.find_all(nodes.For)):
            written = sum(len(data.data) for data in loop.find_all(nodes.TemplateData))
            loop.iter = _filtered(loop.iter, "_loop", nodes.Const(written))
        for output in list(template.find_all(nodes.Output)):
            output.nodes = [
                node if isinstance(node, nodes.TemplateData) else _filtered(node, "_text") for node in output.nodes
            ]
        for parent in list(template.find_all(nodes.Node)):
            for field, value in list(parent.iter_fields()):
                if isinstance(value, nodes.Concat):
                    setattr(parent, field, _guard_concat(value))
                elif isinstance(value, list):
                    value[:] = [_guard_concat(each) if isinstance(each, nodes.Concat) else each for each in value]
        return template

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """An operator of the template, once it is known to make nothing large."""
        budget = BUDGET.get()
        budget.check_time()
        if operator in ("*", "**"):
            _check_product(budget, operator, left, right)
        elif operator == "%" and isinstance(left, str):
            _check_format(budget, left, [right])
        elif operator == "+" and isinstance(left, (str, list, tuple)) and isinstance(right, (str, list, tuple)):
            budget.check_size(len(left) + len(right))
        return budget.spend(super().call_binop(context, operator, left, right))

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805 - as jinja2 has it
        """A call of the template, once it is known to make nothing large."""
        budget = BUDGET.get()
        budget.check_time()
        method = getattr(__obj, "__wrapped__", __obj)  # the sandbox has a function of its own around str.format
        owner = getattr(method, "__self__", None)
        if isinstance(owner, (str, bytes)):
            _check_text_method(budget, getattr(method, "__name__", ""), owner, [*args, *kwargs.values()])
        return budget.spend(super().call(__context, __obj, *args, **kwargs))


def _filtered(node: Any, name: str, *arguments: Any) -> Any:
    return nodes.Filter(node, name, list(arguments), [], None, None, lineno=node.lineno)


def _guard_concat(node: nodes.Concat) -> Any:
    node.nodes = [_filtered(each, "_part") for each in node.nodes]
    return _filtered(node, "_text")


def _guard(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter that asks first; what it is passed besides stays, by the attributes that Jinja gives it."""
    skipped = 1 if getattr(function, "jinja_pass_arg", None) is not None else 0

    @functools.wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        budget = BUDGET.get()
        budget.check_time()
        given = args[skipped:]
        values = [*given, *kwargs.values()]
        if name in _WHOLE or name == "sum":
            _check_text_filter(budget, name, list(values))
        elif name in _WITH_WIDTH:
            _check_widths(budget, given[0] if given else "", values[1:] if name != "lipsum" else values)
        result = function(*args, **kwargs)
        return result if isinstance(result, Iterator) else budget.spend(result)

    guarded._is_guarded = True  # type: ignore[attr-defined]
    return guarded


def _loop(values: Any, written: int) -> Any:
    """What a loop goes over: each turn asks for time, and counts what the loop writes itself."""
    return _SizedTurns(values, written) if hasattr(type(values), "__len__") else _Turns(values, written)


class _Turns:
    def __init__(self, values: Iterable[Any], written: int) -> None:
        self._values, self._written = values, written + 1

    def __iter__(self) -> Iterator[Any]:
        budget = BUDGET.get()
        for value in self._values:
            budget.check_time()
            budget.spend_size(self._written)
            yield value


class _SizedTurns(_Turns):
    def __len__(self) -> int:
        return len(self._values)  # type: ignore[arg-type]


def _count_text(value: Any) -> Any:
    """A value that becomes text."""
    budget = BUDGET.get()
    if not isinstance(value, str):
        budget.check_text_of(value)
        budget.spend_size(8)
        return value
    return budget.spend(value)


def _check_part(value: Any) -> Any:
    """A value that becomes a part of a text, which is counted itself."""
    if not isinstance(value, str):
        BUDGET.get().check_text_of(value)
    return value


def _check_product(budget: Budget, operator: str, left: Any, right: Any) -> None:
    if isinstance(left, int) and isinstance(right, int):
        bits = left.bit_length() + right.bit_length() if operator == "*" else left.bit_length() * max(right, 0)
        if bits > _BITS:
            raise SecurityError(f"it computes a number of {bits:.0e} bits")
    for values, times in ((left, right), (right, left)):
        if isinstance(values, (str, bytes, list, tuple)) and isinstance(times, int):
            budget.check_size(len(values) * max(times, 0))


def _check_widths(budget: Budget, text: Any, numbers: Iterable[Any]) -> None:
    """Check numbers that say how wide or how many, and what is put into each line."""
    lines = text.count("\n") + 1 if isinstance(text, str) else 1
    for number in numbers:
        if isinstance(number, (int, float)):
            if abs(number) > _WIDTH:
                raise SecurityError(f"it asks for a width or count of {number:.0e}")
            budget.check_size(int(abs(number)) * lines)
        elif isinstance(number, str) and isinstance(text, str):
            budget.check_size(len(number) * (len(text) + 1) if len(number) > 1 else 0)


def _check_format(budget: Budget, text: str, values: list[Any], *, braces: bool = False) -> None:
    specs = (spec or "" for _, _, spec, _ in string.Formatter().parse(text)) if braces else ()
    if _WIDE_FIELD.search(" ".join(specs)) if braces else _WIDE_PERCENT.search(text):
        raise SecurityError("it asks for a format with a width that is large, or comes from elsewhere")
    size = sum(measure(value, LARGEST) for value in values)
    budget.check_size(len(text) + size * (text.count("%") + text.count("{") + 1))


def _check_text_filter(budget: Budget, name: str, values: list[Any]) -> None:
    if name == "join":
        if values and isinstance(values[0], (list, tuple, str, dict)):
            separator = next((each for each in values[1:] if isinstance(each, str)), "")
            budget.check_size(len(separator) * len(values[0]))
            budget.check_text_of(values[0])
    elif name == "replace" and len(values) > 2:
        _check_replace(budget, str(values[0]), str(values[1]), str(values[2]))
    elif name == "format" and values:
        _check_format(budget, str(values[0]), values[1:])
    else:
        budget.check_text_of(values[0] if values else "")
        if name == "tojson":
            _check_widths(budget, "", [len(each) if isinstance(each, str) else each for each in values[1:]])
            if any(isinstance(each, (int, str)) and not isinstance(each, bool) for each in values[1:]):
                budget.check_size(16 * measure(values[0], LARGEST))


def _check_text_method(budget: Budget, name: str, text: Any, values: list[Any]) -> None:
    if name == "replace" and len(values) > 1 and isinstance(text, str):
        _check_replace(budget, text, str(values[0]), str(values[1]))
    elif name == "join" and values and isinstance(values[0], (list, tuple, str, dict)):
        budget.check_size(len(text) * len(values[0]))
        budget.check_text_of(values[0])
    elif name in ("format", "format_map") and isinstance(text, str):
        _check_format(budget, text, values, braces=True)
    elif name == "translate" and values and isinstance(values[0], Mapping):
        budget.check_size(len(text) * max((measure(each, LARGEST) for each in values[0].values()), default=1))
    elif name == "expandtabs":
        _check_widths(budget, "\n" * text.count("\t"), values)
    elif name in _WITH_WIDTH:
        _check_widths(budget, "", [each for each in values if isinstance(each, int)])


def _check_replace(budget: Budget, text: str, old: str, new: str) -> None:
    count = text.count(old) if old else len(text) + 1
    budget.check_size(len(text) + count * len(new))
