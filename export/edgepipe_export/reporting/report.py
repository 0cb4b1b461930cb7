"""A page that shows what a bundle is and what was measured of it, and the same as JSON beside it.

1. contents: the bundle's manifest and measurements, checked (:mod:`edgepipe_export.reporting.contents`)
2. sections: tables, bars and plots of them (:mod:`edgepipe_export.reporting.sections`,
  :mod:`edgepipe_export.reporting.plot`)
3. page: the whole, in one file that needs no other and no network (:mod:`edgepipe_export.reporting.page`)

Nothing is measured again, and neither torch nor transformers is imported.
"""

from __future__ import annotations

import os
from pathlib import Path

from edgepipe.bundle.directory import Bundle
from edgepipe.bundle.layout import MANIFEST_NAME, REPORT_NAME
from edgepipe.errors import ExportError, InputError
from edgepipe_export.reporting.contents import read_contents
from edgepipe_export.reporting.page import page


def report(bundle: str | os.PathLike[str] | Bundle, output: str | os.PathLike[str] = "report.html") -> Path:
    """Write the report of a bundle: a page, and beside it a file of the same name that ends in ``.json``.

    Args:
        bundle: A bundle that edgepipe made: its directory or Hub id, or loaded.
        output: The page; a report that is there is replaced.

    Returns:
        The page's path.

    Raises:
        BundleError: no bundle is there, edgepipe did not make it, or it is damaged.
        ExportError: the page cannot be written.
        InputError: `output` is no name for a page, or a file of the bundle has the name.
    """
    path = checked_output(output)
    loaded = bundle if isinstance(bundle, Bundle) else _loaded(bundle)
    contents = read_contents(loaded)
    own = {MANIFEST_NAME, REPORT_NAME, *(entry.path for entry in contents.manifest.files)}
    written = {path: page(contents), path.with_suffix(".json"): contents.to_json()}
    for file in written:
        if file in {Path(os.path.abspath(loaded.path / name)) for name in own}:
            raise InputError(f"the report would replace {file}, which the bundle needs; give it another name")
    for file, text in written.items():
        try:
            file.write_text(text, encoding="utf-8", errors="replace")
        except OSError as error:
            raise ExportError(f"{file} cannot be written ({error}); give the report another place") from error
    return path


def _loaded(bundle: str | os.PathLike[str]) -> Bundle:
    loaded = Bundle.load(bundle)
    if not Path(bundle).exists():  # it came from the Hub, and only what runs it
        from edgepipe.bundle.hub import fetch_measurements

        fetch_measurements(os.fspath(bundle), loaded.path)
    return loaded


def checked_output(output: str | os.PathLike[str], *, made: str | os.PathLike[str] | None = None) -> Path:
    """The absolute path of a page, before the long work that it will tell of.

    Args:
        output: The page.
        made: A directory that will be there by then.

    Raises:
        InputError: it does not end in ``.html``, or its directory is not there.
    """
    path = Path(os.path.abspath(output))
    if path.suffix not in (".html", ".htm") or path.is_dir():
        raise InputError(f"a report is a page, whose name ends in .html, got {os.fspath(output)!r}")
    if not path.parent.is_dir() and (made is None or path.parent != Path(os.path.abspath(made))):
        raise InputError(f"the directory of the report, {path.parent}, is not there; make it, or write elsewhere")
    return path
