"""What the pages name is there: files, headings, commands, options, modules, targets of make."""

from __future__ import annotations

import ast
import re
from fnmatch import fnmatch
from importlib import import_module
from importlib.util import find_spec

import click
import pytest

from edgepipe.cli.main import cli
from tests.documentation.messages import HOLE
from tests.documentation.pages import PAGES, REPOSITORY, Snippet, anchors, snippets, text

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
# Of other programs that are told what to do.
_FOREIGN = {
    "--gpus",
    "--ignore-scripts",
    "--limit-concurrency",
    "--probe",
    "--model",
    "--optimize",
    "--atol",
    "--monolith",
    "--no-post-process",
}

OPTIONS: dict[str, set[str]] = {
    name: {option for parameter in command.params for option in parameter.opts}
    for name, command in cli.commands.items()
}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    folder = (REPOSITORY / page).parent
    for target in _LINK.findall(text(page)):
        if target.startswith(("http://", "https://")):
            continue
        file, _, anchor = target.partition("#")
        path = (folder / file).resolve() if file else REPOSITORY / page
        assert path.exists(), f"{page}: {target}"
        if anchor:
            assert anchor in anchors(path.relative_to(REPOSITORY).as_posix()), f"{page}: {target}"


def test_every_page_is_in_the_navigation() -> None:
    lists = [snippet.code for snippet in snippets("docs/index.md") if snippet.language == "{toctree}"]
    told = [line for code in lists for line in code.splitlines() if line and not line.startswith(":")]
    for page in PAGES:
        if page.startswith("docs/") and page != "docs/index.md":
            name = page.removeprefix("docs/").removesuffix(".md")
            assert any(fnmatch(name, entry) for entry in told), f"docs/index.md: add {name} to its part"


def shell_lines(snippet: Snippet) -> list[str]:
    if snippet.language not in ("sh", "", "inline") or HOLE in snippet.code:  # a message is no command
        return []
    return [line.partition(" #")[0].partition("  ")[0].strip() for line in snippet.code.splitlines()]


@pytest.mark.parametrize("page", PAGES)
def test_commands_have_the_options_that_are_told_of(page: str) -> None:
    for snippet in snippets(page):
        for line in shell_lines(snippet):
            command = re.match(r"edgepipe ([a-z]+(?:-[a-z]+)*)\b(.*)", line)
            if command is None:
                continue
            assert command[1] in OPTIONS, f"{snippet}: {line}"
            unknown = set(_OPTION.findall(command[2])) - OPTIONS[command[1]]
            assert not unknown, f"{snippet}: {line}"


@pytest.mark.parametrize("page", PAGES)
def test_options_are_those_of_some_command(page: str) -> None:
    known = set().union(*OPTIONS.values()) | {"--help", "--version"} | _FOREIGN
    for snippet in snippets(page):
        if snippet.language == "inline" and snippet.code.startswith("--"):
            assert set(_OPTION.findall(snippet.code)) <= known, f"{snippet}: {snippet.code}"


def test_the_readme_tells_of_every_command() -> None:
    told = {match[1] for match in re.finditer(r"^\| `edgepipe ([a-z-]+)", text("README.md"), re.MULTILINE)}
    assert told == set(cli.commands) - {"recipes"}
    assert "`edgepipe recipes`" in text("README.md")


def test_help_is_there_for_every_option() -> None:
    for name, command in cli.commands.items():
        assert command.help, name
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, f"{name} {parameter.opts}"


@pytest.mark.parametrize("page", PAGES)
def test_files_modules_and_targets_are_there(page: str) -> None:
    targets = re.findall(r"^([a-z0-9-]+):", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    for snippet in snippets(page):
        for line in shell_lines(snippet):
            for target in re.findall(r"\bmake ([a-z0-9-]+)", line):
                assert target in targets, f"{snippet}: {line}"
            for module in re.findall(r"\bpython -m ((?:benchmarks|tests|models)[\w.]*)", line):
                assert find_spec(module) is not None, f"{snippet}: {line}"
            for path in re.findall(r"(?<![\w/.])((?:benchmarks|tests|docs|models|\.ci)/[\w./-]*\w)", line):
                assert (REPOSITORY / path).exists(), f"{snippet}: {line}"


@pytest.mark.parametrize("page", PAGES)
def test_python_parses_and_its_names_can_be_imported(page: str) -> None:
    for snippet in snippets(page):
        if snippet.language != "python":
            continue
        for node in ast.walk(ast.parse(snippet.code)):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("edgepipe"):
                module = import_module(str(node.module))
                assert all(hasattr(module, alias.name) for alias in node.names), str(snippet)


@pytest.mark.parametrize("page", PAGES)
def test_names_of_ours_are_there(page: str) -> None:
    for snippet in snippets(page):
        name = re.match(r"(edgepipe(?:_export|_models)?)((?:\.\w+)+)(?=\(|$)", snippet.code)
        if snippet.language != "inline" or name is None or name[2].endswith((".json", ".py")):
            continue
        found = import_module(name[1])
        for part in name[2][1:].split("."):
            found = getattr(found, part, None) or import_module(f"{found.__name__}.{part}")
