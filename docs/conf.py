"""How Sphinx builds the docs: `make docs`."""

import pkgutil
import re
from pathlib import Path

from docutils import nodes
from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer

import edgepipe

project = "edgepipe"
release = version = edgepipe.__version__
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_click",
]

# A reference that leads nowhere is a warning, and a warning fails the build.
nitpicky = True
nitpick_ignore_regex = [
    # Other people's classes have their own pages.
    ("py:class", r"(os|pathlib|collections\.abc|numpy|tokenizers|transformers)\..*|ArrayLike|PreTrained\w+"),
    # Names that stand for types in signatures.
    ("py:class", r"Chat|\w+Options"),
    # Documented, but named without its module.
    ("py:class", "Check"),
]
default_role = "code"

myst_heading_anchors = 3  # with GitHub's names, so that links work there too

# What some rooms need that is not here; nothing of it is on a page.
autodoc_mock_imports = ["pyarrow", "pandas", "ray", "starlette", "msgspec", "prometheus_client"]
autodoc_member_order = "bysource"
autodoc_type_aliases = {"ArrayLike": "ArrayLike"}
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"

html_theme = "furo"
html_title = f"edgepipe {release}"
html_copy_source = False
html_show_copyright = False
html_show_sphinx = False

# Pages outside of docs/ that have a page here, which includes them.
INCLUDED = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
_DOCS = Path(__file__).parent
_LINK_OUT = re.compile(r"\[([^\]]*)\]\(((?:\.\./)+[^)\s#]+)(#[^)\s]*)?\)")


def keep_links_inside(app: Sphinx, page: str, source: list[str]) -> None:
    """Turn links that leave docs/ into links to the page that includes the file, or into the file's name."""
    folder = (_DOCS / page).parent

    def replace(link: re.Match[str]) -> str:
        text, target, anchor = link.groups("")
        path = (folder / target).resolve()
        if path.is_relative_to(_DOCS):
            return link[0]
        name = path.relative_to(_DOCS.parent).as_posix()
        if name not in INCLUDED:
            return f"`{name}`"
        steps = "../" * page.count("/")
        return f"[{text}]({steps}{INCLUDED[name]}{anchor})"

    source[0] = _LINK_OUT.sub(replace, source[0])


def pass_over_internals(app: Sphinx, env: object, node: nodes.Element, shown: nodes.Element) -> nodes.Element | None:
    """A reference to something of ours that has no page is no link, and no warning where it is there."""
    target = node.get("reftarget", "")
    if not re.match(r"edgepipe\w*\.", target):
        return None
    try:
        pkgutil.resolve_name(target)
    except (ImportError, AttributeError):
        return None
    return shown


_analyze = ModuleAnalyzer.analyze


def analyze_without_overloads(analyzer: ModuleAnalyzer) -> None:
    """Read a module, but show each function once: overloads are for type checkers."""
    _analyze(analyzer)
    analyzer.overloads.clear()


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    ModuleAnalyzer.analyze = analyze_without_overloads
    app.connect("source-read", keep_links_inside)
    app.connect("missing-reference", pass_over_internals)
    # GitHub draws it. Here it stays text: to draw it, every reader's browser would load a program from elsewhere.
    app.add_lexer("mermaid", TextLexer)
