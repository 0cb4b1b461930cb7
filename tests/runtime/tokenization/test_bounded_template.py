"""Chat templates that take all time or memory are stopped; those that take much of a long chat are not."""

from __future__ import annotations

import threading
import time
from contextlib import suppress

import pytest

from edgepipe.errors import InputError
from edgepipe.tokenization import bounded_template
from edgepipe.tokenization.chat_template import render
from tests.runtime.processes import run_python

CHAT = [{"role": "user", "content": "Hello"}]

ENDLESS = {
    "loops in loops": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "loops over one list": "{% set r = range(99999)|list %}{% for a in r %}{% for b in r %}{% for c in r %}"
    "{% set x = a %}{% endfor %}{% endfor %}{% endfor %}",
    "a macro that calls itself twice": "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}"
    "{{ f(60) }}",
    "filters over filters": "{% set r = range(99999)|list %}{% for a in r %}{% set x = r|map('string')|list|length %}"
    "{% endfor %}",
}
LARGE = {
    "a text times a number": "{{ 'a' * 1000000000 }}",
    "a list times a number": "{% set x = [1] * 1000000000 %}",
    "a list of lists": "{% set x = [[1] * 2000] * 3000 %}{% set y = [x] * 3000 %}{{ y }}",
    "a power": "{{ 2 ** 1000000000 }}",
    "powers of powers": "{{ 2 ** (2 ** (2 ** (2 ** (2 ** 2)))) }}",
    "twice as much, forty times": "{% set n = namespace(x='aa') %}{% for i in range(40) %}{% set n.x = n.x ~ n.x %}"
    "{% endfor %}",
    "added, forty times": "{% set n = namespace(x='aa') %}{% for i in range(40) %}{% set n.x = n.x + n.x %}"
    "{% endfor %}",
    "lists, forty times": "{% set n = namespace(x=[1]) %}{% for i in range(40) %}{% set n.x = [n.x, n.x] %}{% endfor %}"
    "{{ n.x }}",
    "as JSON": "{% set n = namespace(x=[1]) %}{% for i in range(40) %}{% set n.x = [n.x, n.x] %}{% endfor %}"
    "{{ n.x|tojson }}",
    "as a text": "{% set n = namespace(x=[1]) %}{% for i in range(40) %}{% set n.x = [n.x, n.x] %}{% endfor %}"
    "{% set y = n.x|string %}",
    "a sum of lists": "{% set x = [[1] * 100000] * 100000 %}{% set y = x|sum(start=[]) %}",
    "a width": "{{ 'a'|center(1000000000) }}",
    "a width of a method": "{{ 'a'.ljust(1000000000) }}",
    "zeros": "{{ 'a'.zfill(1000000000) }}",
    "tabs": "{{ '\t'.expandtabs(1000000000) }}",
    "an indent": "{{ 'a\n'|indent(1000000000) }}",
    "an indent of JSON": "{{ [1]|tojson(indent=1000000000) }}",
    "an indent of many lines": "{{ ('a\n' * 100000)|indent(9999) }}",
    "a percent format": "{{ '%01000000000d' % 1 }}",
    "a percent format with a star": "{{ '%*d' % (1000000000, 1) }}",
    "the filter format": "{{ '%01000000000d'|format(1) }}",
    "the method format": "{{ '{:1000000000}'.format(1) }}",
    "a width from elsewhere": "{{ '{:{}}'.format(1, 1000000000) }}",
    "a replacement": "{{ ('a' * 10000).replace('a', 'b' * 10000) }}",
    "a replacement of nothing": "{{ ('a' * 10000)|replace('', 'b' * 10000) }}",
    "a separator": "{{ range(10000)|list|join('b' * 10000) }}",
    "a separator's method": "{{ ('b' * 10000).join(('a' * 10000)|list) }}",
    "a list of one text": "{{ (['a' * 100000] * 1000)|join }}",
    "batches": "{% set x = [1]|batch(1000000000, 0)|list %}",
    "slices": "{% set x = [1]|slice(1000000000)|list %}",
    "nonsense": "{{ lipsum(1000000000) }}",
    "a table of replacements": "{{ ('a' * 10000).translate({97: 'b' * 10000}) }}",
    "a block that is set": "{% set s = 'a' * 1000000 %}{% set x %}{% for i in range(99999) %}{{ s }}{% endfor %}"
    "{% endset %}",
    "text of the template": "{% set x %}{% for i in range(99999) %}{% for i in range(99999) %}"
    + "a" * 10_000
    + "{% endfor %}{% endfor %}{% endset %}",
    "names": "{% set n = namespace(x=[]) %}{% for i in range(99999) %}{% set n.x = n.x + [('a' * 1000000) ~ i] %}"
    "{% endfor %}",
}


@pytest.mark.parametrize("name", ENDLESS)
def test_time_is_bounded(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_template, "SECONDS", 0.2)
    begin = time.monotonic()
    with pytest.raises(InputError, match=r"it takes more than 0 seconds|it makes"):
        render(ENDLESS[name], CHAT)
    assert time.monotonic() - begin < 5


def test_memory_is_bounded() -> None:
    program = """
        import resource, sys, time
        from edgepipe.errors import InputError
        from edgepipe.tokenization.chat_template import render
        from tests.runtime.tokenization.test_bounded_template import CHAT, LARGE

        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for name, template in LARGE.items():
            begin = time.monotonic()
            try:
                render(template, CHAT)
                print(name, "was not refused")
            except InputError as error:
                if "it " not in str(error):
                    print(name, error)
            if time.monotonic() - begin > 5:
                print(name, "took", time.monotonic() - begin)
        print("megabytes", (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
    """
    *said, memory = run_python(program).splitlines()
    assert said == []
    assert int(memory.split()[1]) < 700


@pytest.mark.parametrize(
    "template", ["{% if" * 5000, "(" * 100_000, "{{ " + "(" * 2000 + ")" * 2000 + " }}", "{% for a in b %}" * 100]
)
def test_programs_that_are_too_deep(template: str) -> None:
    with pytest.raises(InputError, match="is no valid Jinja") if "{" in template else pytest.raises(AssertionError):
        assert render(template, CHAT) != template


def test_a_program_that_is_too_long() -> None:
    with pytest.raises(InputError, match="more than 1,000,000"):
        render("a" * 2_000_000, CHAT)


def test_a_long_chat_is_no_attack() -> None:
    chat = [{"role": ("user", "assistant")[place % 2], "content": "word " * 2000} for place in range(400)]
    template = (
        "{% set n = namespace(all='') %}{% for message in messages %}"
        "{% set n.all = n.all ~ '<|' + message.role + '|>' ~ message['content']|trim ~ '\\n' %}"
        "{% if loop.last %}{{ n.all }}{% endif %}{% endfor %}"
    )
    text = render(template, chat)
    assert text == "".join(f"<|{each['role']}|>{each['content'].strip()}\n" for each in chat)


def test_formats_that_are_no_attack() -> None:
    template = (
        "{{ '**%s** 12345 %5.1f%%' % ('a', 2) }} {{ '{{ \"n\": {}, {x:>4} }} 123456'.format(1, x=2) }} "
        "{{ '%s'|format(3) }} {{ '-' * 40 }} {{ [1, {'a': 2}]|tojson(indent=2) }}"
    )
    text = '**a** 12345   2.0% { "n": 1,    2 } 123456 3 ' + "-" * 40
    assert render(template, CHAT) == text + ' [\n  1,\n  {\n    "a": 2\n  }\n]'


def test_loops_know_their_length_and_their_ends() -> None:
    template = (
        "{% for a in [1, 2, 3] %}{{ loop.index }}/{{ loop.length }}{{ '!' if loop.last else ',' }}{% endfor %}"
        "{% for k, v in {'a': 1}.items() %}{{ k }}={{ v }}{% else %}none{% endfor %}"
        "{% for a in nothing %}{{ a }}{% else %} nothing{% endfor %}"
        "{% for a in messages|selectattr('role', 'equalto', 'user') %} {{ a.content }} {{ loop.length }}{% endfor %}"
        "{% for a in [1, [2, [3]]] recursive %}{{ loop(a) if a is iterable else a }}{% endfor %}"
        "{{ none }}{{ missing }}{{ 1.5 }}{{ [1, 'a'] }}{{ true }}"
    )
    assert render(template, CHAT) == "1/3,2/3,3/3!a=1 nothing Hello 1123None1.5[1, 'a']True"


def test_each_thread_has_its_own_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_template, "SECONDS", 1.0)
    found: list[str] = []

    def never_end() -> None:
        with suppress(InputError):
            render(ENDLESS["loops in loops"], CHAT)

    stopped = threading.Thread(target=never_end)
    stopped.start()
    while stopped.is_alive():
        found.append(render("{% for a in messages %}{{ a.content }}{% endfor %}", CHAT))
    assert set(found) == {"Hello"}
