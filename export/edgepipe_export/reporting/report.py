"""A report shows what a bundle is and what was measured of it: as a page with plots, as Markdown, or as JSON.

1. contents: the bundle's manifest and measurements, checked (:mod:`edgepipe_export.reporting.contents`)
2. sections: their tables and plots, as data (:mod:`edgepipe_export.reporting.sections`)
3. page: one template with the style inside, which needs no other file and no network (``page.html.jinja``); its plots
   are matplotlib's (:mod:`edgepipe_export.reporting.svg`). Or Markdown (:mod:`edgepipe_export.reporting.markdown`)

Nothing is measured again, and neither torch nor transformers is imported.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import edgepipe
from edgepipe.backend.machine import machine_name
from edgepipe.bundle.directory import Bundle
from edgepipe.bundle.hub import fetch_measurements
from edgepipe.bundle.layout import MANIFEST_NAME, REPORT_NAME
from edgepipe.errors import ExportError, InputError
from edgepipe_export.reporting.contents import (
    Contents,
    VerificationResult,
    describe_directory,
    read_contents,
    show_verification,
)
from edgepipe_export.reporting.formatting import to_xml_text
from edgepipe_export.reporting.markdown import render_markdown
from edgepipe_export.reporting.sections import collect_sections, summarize_contents
from edgepipe_export.reporting.svg import render_svg
from edgepipe_export.requirements import require_report_packages

if TYPE_CHECKING:
    from jinja2 import Environment

# The formats, and how the names of their files end.
SUFFIXES = {"html": (".html", ".htm"), "json": (".json",), "md": (".md",)}

_FROM_EXPORT = (
    "All figures are those of the bundle's manifest, and of the file of measurements beside it; nothing was measured "
    "again."
)
_NOT_MEASURED = "Sizes are those of the files. Quality was not measured."
_FROM_VERIFICATION = "Quality was measured by a verification; the bundle itself has the figures of its export."


def report(
    bundle: str | os.PathLike[str] | Bundle,
    output: str | os.PathLike[str] | None = None,
    *,
    format: str = "html",
    verification: VerificationResult | None = None,
    findings: Sequence[tuple[str, str]] | None = None,
) -> Path:
    """Write the report of a bundle.

    Args:
        bundle: A bundle that edgepipe wrote: its directory or Hub id, or loaded.
        output: The file; by default ``report.html``, ``report.json`` or ``report.md`` in the current directory. A
            report that is already there is replaced.
        format: ``"html"``: a page, and beside it the JSON, which has the same name but for its end. ``"json"`` or
            ``"md"``: that file alone.
        verification: What :func:`~edgepipe_export.verify` found of the bundle: shown in place of the quality that was
            measured at export, with its texts.
        findings: What :func:`~edgepipe_export.audit` found missing or wrong: what it is about, and a sentence. With it,
            or with a verification, the directory may be another tool's.

    Returns:
        The path of the file.

    Raises:
        BundleError: no bundle is there, edgepipe did not write it, or it is damaged.
        DependencyError: jinja2 or matplotlib is missing, which a page needs.
        ExportError: the file cannot be written.
        InputError: the format is unknown, `output` is no name for it, or a file of the bundle has the name.
    """
    path = check_output(f"report.{format}" if output is None else output, format=format)
    loaded = load_bundle(bundle)
    is_foreign = loaded.manifest is None and (verification is not None or findings is not None)
    contents = describe_directory(loaded) if is_foreign else read_contents(loaded)
    if verification is not None:
        contents = show_verification(contents, verification, machine_name())
    contents = replace(contents, findings=tuple(findings or ()))
    own = {MANIFEST_NAME, REPORT_NAME, *(entry.path for entry in contents.manifest.files)}
    texts = {path: render_report(contents, format)}
    if format == "html":
        texts[path.with_suffix(".json")] = contents.to_json()
    for file in texts:
        if file in {Path(os.path.abspath(loaded.path / name)) for name in own}:
            raise InputError(f"the report would replace {file}, which the bundle needs; give it another name")
    for file, text in texts.items():
        try:
            _write(file, text)
        except OSError as error:
            raise ExportError(f"{file} cannot be written ({error}); give the report another place") from error
    return path


def _write(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        partial.write_text(text, encoding="utf-8", errors="replace")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def check_output(
    output: str | os.PathLike[str], *, format: str = "html", created: str | os.PathLike[str] | None = None
) -> Path:
    """The absolute path of a report. An export checks it before its long work.

    Args:
        output: The file.
        format: Its format.
        created: A directory that will be there when the report is written.

    Raises:
        DependencyError: jinja2 or matplotlib is missing, which a page needs.
        InputError: the format is unknown, the name does not end as it says, or its directory is not there.
    """
    if format not in SUFFIXES:
        raise InputError(f"format must be one of {', '.join(SUFFIXES)}, got {format!r}")
    path = Path(os.path.abspath(output))
    if path.suffix not in SUFFIXES[format] or path.is_dir():
        if format == "html":
            raise InputError(f"a report is a page, whose name ends in .html, got {os.fspath(output)!r}")
        raise InputError(f"the name of a report in {format} ends in {SUFFIXES[format][0]}, got {os.fspath(output)!r}")
    if format == "html":
        require_report_packages()
    if not path.parent.is_dir() and (created is None or path.parent != Path(os.path.abspath(created))):
        raise InputError(f"the directory of the report, {path.parent}, is not there; make it, or write elsewhere")
    return path


def load_bundle(bundle: str | os.PathLike[str] | Bundle) -> Bundle:
    """A bundle with its file of measurements.

    Raises:
        BundleError: no bundle is there.
    """
    if isinstance(bundle, Bundle):
        return bundle
    loaded = Bundle.load(bundle)
    if not Path(bundle).exists():  # it came from the Hub, and only with the files that run it
        fetch_measurements(os.fspath(bundle), loaded.path)
    return loaded


def render_report(contents: Contents, format: str) -> str:
    """The text of a report in a format of :data:`SUFFIXES`.

    Raises:
        DependencyError: jinja2 or matplotlib is missing, which a page needs.
    """
    renderers: dict[str, Callable[[Contents], str]] = {
        "html": render_page,
        "json": Contents.to_json,
        "md": _render_markdown,
    }
    return renderers[format](contents)


def render_page(contents: Contents) -> str:
    """The page as HTML that is well-formed XML, too.

    Raises:
        DependencyError: jinja2 or matplotlib is missing.
    """
    require_report_packages()
    template = _template_environment().get_template("page.html.jinja")
    return template.render(
        manifest=contents.manifest,
        summary=" ".join(summarize_contents(contents)),
        sections=collect_sections(contents),
        footer=_write_footer(contents),
    )


def _render_markdown(contents: Contents) -> str:
    title = f"{contents.manifest.source.model} for {contents.manifest.task}"
    return render_markdown(title, summarize_contents(contents), collect_sections(contents), _write_footer(contents))


def _write_footer(contents: Contents) -> str:
    source = _FROM_VERIFICATION if contents.verified else _FROM_EXPORT if contents.parities else _NOT_MEASURED
    return f"{source} Written by edgepipe {edgepipe.__version__}."


def _template_environment() -> Environment:
    from jinja2 import Environment, PackageLoader
    from markupsafe import Markup

    def escape_text(value: Any) -> Any:
        return Markup(escape(to_xml_text(value))) if type(value) is str else value

    environment = Environment(
        loader=PackageLoader("edgepipe_export", "reporting"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=escape_text,
    )
    # What matplotlib wrote is markup, and every text in it escaped.
    environment.filters["draw"] = lambda plot, name: Markup(render_svg(plot, name))
    return environment
