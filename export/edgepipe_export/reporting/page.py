"""The whole page: one file, with its style inside, that asks nothing of any network and runs no script."""

from __future__ import annotations

from importlib.resources import files

import edgepipe
from edgepipe_export.reporting import sections
from edgepipe_export.reporting.contents import Contents
from edgepipe_export.reporting.markup import Markup, element, joined
from edgepipe_export.reporting.tradeoff import choice
from edgepipe_export.reporting.wording import share, size

# Whatever a text might smuggle in, a browser loads and runs nothing for it.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"

_SECTIONS = (
    sections.variants,
    choice,
    sections.figures,
    sections.sensitivities,
    sections.disagreements,
    sections.tensors,
    sections.checks,
    sections.recipes,
    sections.made,
)


def page(contents: Contents) -> str:
    """The page as HTML that is well-formed XML, too."""
    manifest = contents.manifest
    title = f"{manifest.source.model} for {manifest.task}"
    style = Markup(files("edgepipe_export.reporting").joinpath("style.css").read_text(encoding="utf-8"))
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name_="viewport", content="width=device-width, initial-scale=1"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name_="color-scheme", content="light dark"),
        element("title", f"{title}: edgepipe's report"),
        element("style", style),
    )
    body = element(
        "body",
        element(
            "header",
            element("p", "edgepipe's report", class_="eyebrow"),
            element("h1", manifest.source.model),
            element("p", summary(contents), class_="lead"),
        ),
        element("main", *(section(contents) for section in _SECTIONS)),
        element(
            "footer",
            element(
                "p",
                "All figures are those of the bundle's manifest, and of the file of measurements beside it; nothing "
                "was measured again. The JSON beside this page has them in full. "
                f"NodeReplacement by edgepipe {edgepipe.__version__}.",
            ),
        ),
    )
    return "<!DOCTYPE html>\n" + element("html", head, body, lang="en") + "\n"


def summary(contents: Contents) -> Markup:
    """A sentence on the whole and one on each variant beside fp32."""
    variants = contents.manifest.variants
    count = "One variant" if len(variants) == 1 else f"{len(variants)} variants"
    told = [f"{count} for {contents.manifest.task}."]
    for dtype, variant in variants.items():
        ratio, parity = contents.ratio(dtype), variant.parity
        if parity is None or dtype == "fp32":
            continue
        part = size(variant.bytes) if ratio is None else f"{share(ratio)} of fp32's size"
        held = "held" if parity.passed else "missed, and written by force"
        agreement = "" if parity.label_agreement is None else f", {share(parity.label_agreement)} agreement"
        told.append(f"{dtype}: {part}{agreement}, bound {held}.")
    return joined(" ".join(told))
