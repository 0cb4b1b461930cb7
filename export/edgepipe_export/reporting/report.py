"""A page that shows what a bundle is and what was measured of it, and the same as JSON beside it.

1. contents: the bundle's manifest and measurements, checked (:mod:`edgepipe_export.reporting.contents`)
2. tables and plots of them, as data (:mod:`edgepipe_export.reporting.tables`,
   :mod:`edgepipe_export.reporting.tradeoff`)
3. page: one template with the style inside, which needs no other file and no network (``page.html.jinja``)

Nothing is measured again, and neither torch nor transformers is imported.
"""

from __future__ import annotations

import os
import re
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import edgepipe
from edgepipe.bundle.directory import Bundle
from edgepipe.bundle.hub import fetch_measurements
from edgepipe.bundle.layout import MANIFEST_NAME, REPORT_NAME
from edgepipe.errors import DependencyError, ExportError, InputError
from edgepipe_export.reporting import tables
from edgepipe_export.reporting.contents import Contents, read_contents
from edgepipe_export.reporting.formatting import format_share, format_size
from edgepipe_export.reporting.tradeoff import plot_tradeoff

if TYPE_CHECKING:
    from jinja2 import Environment

# XML has no way to write these: control characters, halves of surrogate pairs, and two noncharacters.
_NOT_IN_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


def report(bundle: str | os.PathLike[str] | Bundle, output: str | os.PathLike[str] = "report.html") -> Path:
    """Write the report of a bundle: a page, and beside it a file of the same name that ends in ``.json``.

    Args:
        bundle: A bundle that edgepipe wrote: its directory or Hub id, or loaded.
        output: The page. A report that is already there is replaced.

    Returns:
        The page's path.

    Raises:
        BundleError: no bundle is there, edgepipe did not write it, or it is damaged.
        DependencyError: jinja2 is missing.
        ExportError: the page cannot be written.
        InputError: `output` is no name for a page, or a file of the bundle has the name.
    """
    path = check_output(output)
    loaded = bundle if isinstance(bundle, Bundle) else _load(bundle)
    contents = read_contents(loaded)
    own = {MANIFEST_NAME, REPORT_NAME, *(entry.path for entry in contents.manifest.files)}
    texts = {path: render_page(contents), path.with_suffix(".json"): contents.to_json()}
    for file in texts:
        if file in {Path(os.path.abspath(loaded.path / name)) for name in own}:
            raise InputError(f"the report would replace {file}, which the bundle needs; give it another name")
    for file, text in texts.items():
        try:
            file.write_text(text, encoding="utf-8", errors="replace")
        except OSError as error:
            raise ExportError(f"{file} cannot be written ({error}); give the report another place") from error
    return path


def check_output(output: str | os.PathLike[str], *, created: str | os.PathLike[str] | None = None) -> Path:
    """The absolute path of a page. An export checks it before its long work.

    Args:
        output: The page.
        created: A directory that will be there when the page is written.

    Raises:
        InputError: it does not end in ``.html``, or its directory is not there.
    """
    path = Path(os.path.abspath(output))
    if path.suffix not in (".html", ".htm") or path.is_dir():
        raise InputError(f"a report is a page, whose name ends in .html, got {os.fspath(output)!r}")
    if not path.parent.is_dir() and (created is None or path.parent != Path(os.path.abspath(created))):
        raise InputError(f"the directory of the report, {path.parent}, is not there; make it, or write elsewhere")
    return path


def render_page(contents: Contents) -> str:
    """The page as HTML that is well-formed XML, too.

    Raises:
        DependencyError: jinja2 is missing.
    """
    template = _template_environment().get_template("page.html.jinja")
    names = ("variants", "metrics", "sensitivities", "disagreements", "tensors", "checks", "recipes")
    return template.render(
        contents=contents,
        tables={name: getattr(tables, f"tabulate_{name}")(contents) for name in names},
        tradeoff=plot_tradeoff(contents),
        edgepipe_version=edgepipe.__version__,
    )


def _load(bundle: str | os.PathLike[str]) -> Bundle:
    loaded = Bundle.load(bundle)
    if not Path(bundle).exists():  # it came from the Hub, and only with the files that run it
        fetch_measurements(os.fspath(bundle), loaded.path)
    return loaded


def _template_environment() -> Environment:
    try:
        from jinja2 import Environment, PackageLoader
        from markupsafe import Markup
    except ImportError as error:
        raise DependencyError("a report needs jinja2, which is not installed. Try: pip install jinja2") from error

    def escape_text(value: Any) -> Any:
        return Markup(escape(_NOT_IN_XML.sub("\ufffd", value))) if type(value) is str else value

    environment = Environment(
        loader=PackageLoader("edgepipe_export", "reporting"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=escape_text,
    )
    environment.filters |= {"share": format_share, "size": format_size}
    return environment
