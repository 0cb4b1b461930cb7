"""``edgepipe info``: what a bundle is, as text or JSON."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from edgepipe.bundle.layout import MANIFEST_NAME, STORED_AS
from edgepipe.cli.shared_options import complete_folder, device_option, echo_json, json_option, quiet_download_option
from edgepipe.errors import BundleError
from edgepipe.text_table import list_facts, table, terminal_width

if TYPE_CHECKING:
    from edgepipe.bundle.directory import Bundle


@click.command()
@click.argument("bundle", required=False, shell_complete=complete_folder)
@click.option("--check", is_flag=True, help="Check the sha256 of every file.")
@click.option("--digest", is_flag=True, help="Show one sha256 alone: of the manifest, which has those of all files.")
@device_option
@json_option
@quiet_download_option
def info(bundle: str | None, check: bool, digest: bool, device: str | None, as_json: bool) -> None:
    """Show what a bundle is: task, source, variants, sizes, parity.

    Without BUNDLE, the embedded default is shown. With --device it is loaded there, to show which nodes run on what.
    """
    from edgepipe.bundle.directory import Bundle
    from edgepipe.factory import embedded_bundle

    loaded = Bundle.load(embedded_bundle() if bundle is None else bundle)
    checked = len(loaded.check()) if check else None
    if digest:
        if loaded.manifest is None:
            raise BundleError(f"{loaded.path} has no {MANIFEST_NAME}: there is nothing that names its files")
        click.echo(loaded.digest)
        return
    description = describe(loaded) | (describe_nodes(loaded, device) if device is not None else {})
    if as_json:
        echo_json(description | {"checked_files": checked})
        return
    click.echo(render(description, width=terminal_width(sys.stdout)))
    if checked is not None:
        click.echo(f"\n{checked} files have the sha256 that the manifest says.")


def describe(bundle: Bundle) -> dict[str, Any]:
    """What is known about a bundle, from its manifest or, without one, from its config, files and graph."""
    from edgepipe.pipelines.task_loading import infer_task

    manifest = bundle.manifest
    return {
        "path": str(bundle.path),
        "task": infer_task(bundle),
        "source": f"{manifest.source.model}" if manifest else None,
        "revision": manifest.source.revision if manifest else None,
        "base": manifest.source.base if manifest else None,
        "architecture": manifest.source.architecture if manifest else _first(bundle.config.get("architectures")),
        "max_length": bundle.max_length,
        "labels": list(manifest.labels) if manifest else None,
        "default_dtype": bundle.default_dtype,
        "versions": dict(manifest.versions) if manifest else None,
        "machine": manifest.machine if manifest else None,
        "digest": manifest.digest if manifest else None,
        "variants": [_variant(bundle, dtype) for dtype in bundle.measured_dtypes],
    }


def describe_nodes(bundle: Bundle, device: str) -> dict[str, Any]:
    """What a device runs of a bundle: the variant that it takes, and how many operators of each kind by provider.

    Raises:
        DeviceError: the device cannot be used here, or leaves to the processor what it was asked for.
    """
    from edgepipe.backend.session import SessionConfig
    from edgepipe.models.variants import choose_variant, list_nodes

    session = SessionConfig(device)
    dtype = choose_variant(bundle, None, session)
    return {"device": device, "device_dtype": dtype, "nodes": list_nodes(bundle, dtype, session)}


def render(description: dict[str, Any], *, width: int | None = None) -> str:
    """A description as text: a line a fact, then a table of the variants.

    Args:
        description: What `describe` says.
        width: How many columns of a terminal there are; by default lines are as long as they are.
    """
    facts = []
    for key, value in description.items():
        if key in ("variants", "nodes") or value in (None, [], {}, ""):
            continue
        if isinstance(value, dict):
            value = ", ".join(f"{name} {version}" for name, version in value.items())
        elif isinstance(value, list):
            value = ", ".join(map(str, value))
        facts.append((key.replace("_", " "), str(value)))
    takes = {said for variant in description["variants"] if (said := _describe_cache(variant)) is not None}
    if takes:
        facts.append(("cache", "; ".join(sorted(takes))))
    proved = [f"{variant['dtype']} on {place}" for variant in description["variants"] for place in variant["proved_on"]]
    if proved:
        facts.append(("proved", "; ".join(proved)))
    if description.get("nodes"):
        from edgepipe.backend.session import describe_placement

        facts.append(("nodes", describe_placement(description["nodes"])))
    rows = [
        [
            variant["dtype"],
            f"{variant['bytes'] / 1e6:.1f} MB",
            variant["reference"] or "-",
            "-" if variant["max_abs_diff"] is None else f"{variant['max_abs_diff']:.1e}",
            "-" if variant["label_agreement"] is None else f"{variant['label_agreement']:.1%}",
            {None: "not measured", True: "passed", False: "FAILED, written by force"}[variant["passed"]],
        ]
        for variant in description["variants"]
    ]
    headers = ["dtype", "size", "compared with", "max difference", "same label", "parity"]
    # Names come from whoever made the bundle, and JSON can hold half a character, which no terminal takes.
    text = f"{list_facts(facts, width=width)}\n\n{table(headers, rows, width=width)}"
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _describe_cache(variant: dict[str, Any]) -> str | None:
    """What a token takes in a variant's cache; None for one without a cache."""
    own, source = variant["cache_bytes_per_token"], variant["cache_bytes_per_source_token"]
    if own is None:
        return None
    said = f"{own:,} bytes a token" + (f" and {source:,} a token of the source" if source else "")
    if variant["cache_dtype"] is not None:
        said = f"{said} in {variant['cache_dtype']} ({variant['dtype']})"
    if variant["cache_window"] is None:
        return said
    return f"{said}, {variant['cache_bytes_in_window']:,} of them for the last {variant['cache_window']:,} tokens alone"


def _variant(bundle: Bundle, dtype: str) -> dict[str, Any]:
    from edgepipe.models.cache_inputs import read_token_bytes

    recorded = bundle.manifest.variants[dtype] if bundle.manifest else None
    parity = recorded.parity if recorded else None
    stored = STORED_AS.get(dtype, dtype)
    cached = read_token_bytes(bundle, stored)
    return {
        "dtype": dtype,
        "proved_on": list(recorded.proved_on) if recorded else [],
        "bytes": bundle.count_bytes(stored),
        "files": [str(file.relative_to(bundle.path)) for file in bundle.files(stored)],
        "cache_bytes_per_token": cached.own if cached else None,
        "cache_bytes_per_source_token": cached.source if cached else None,
        "cache_bytes_in_window": cached.windowed if cached else None,
        "cache_dtype": bundle.cache_dtype(stored),
        "cache_window": bundle.attention_window(stored) if cached and cached.windowed else None,
        "recipe": dict(bundle.manifest.variants[dtype].recipe) if bundle.manifest else None,
        "reference": parity.reference if parity else None,
        "texts": parity.texts if parity else None,
        "seen": parity.seen if parity else None,
        "max_abs_diff": max(parity.max_abs_diff.values(), default=None) if parity else None,
        "max_score_diff": parity.max_score_diff if parity else None,
        "label_agreement": parity.label_agreement if parity else None,
        "passed": parity.passed if parity else None,
    }


def _first(names: object) -> str | None:
    return str(names[0]) if isinstance(names, list) and names else None
