"""The bundle's README.md: a model card in the form the Hub reads, and what people need to run the bundle."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from edgepipe.manifest import Manifest, Variant
from edgepipe_export.hub import is_repo_id

_FRONT_MATTER = re.compile(r"\A---\r?\n(.*?)\r?\n---", re.DOTALL)
_LICENSE = re.compile(r"^license:[ \t]*['\"]?([\w.-]+)['\"]?[ \t]*$", re.MULTILINE)


def source_license(checkpoint: Path | None) -> str | None:
    """The license that a checkpoint's own model card names; None where there is no card or it names none."""
    card = None if checkpoint is None else checkpoint / "README.md"
    if card is None or not card.is_file():
        return None
    header = _FRONT_MATTER.match(card.read_text(encoding="utf-8", errors="replace"))
    found = None if header is None else _LICENSE.search(header.group(1))
    return None if found is None else found.group(1)


def model_card(manifest: Manifest, license_id: str | None = None) -> str:
    """The text of the card.

    Args:
        manifest: The finished manifest.
        license_id: The source checkpoint's license, as the Hub abbreviates it.
    """
    source = manifest.source
    revision = "" if source.revision is None else f" at revision `{source.revision}`"
    limit = "has no limit" if manifest.max_length is None else f"is at most {manifest.max_length} tokens long"
    sections = [
        _front_matter(manifest, license_id),
        f"# {source.model}, exported for {manifest.task}",
        f"Made by [edgepipe](https://pypi.org/project/edgepipe/) from `{source.model}`{revision} "
        f"(`{source.architecture}`). What the model is good for, and what not, its own card says.",
        _labels(manifest),
        f"An input {limit} ({manifest.max_length_source}).",
        "## Variants",
        _variants(manifest.variants),
        f"Parity was measured on the exporter's built-in sentences, on: {manifest.machine}.",
        "## Use",
        _usage(manifest),
        "## Made with",
        ", ".join(f"{name} {version}" for name, version in manifest.versions.items()) + ".",
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _front_matter(manifest: Manifest, license_id: str | None) -> str:
    entries: dict[str, object] = {} if license_id is None else {"license": license_id}
    # The Hub links base_model to a repository, and a bare name to nothing.
    if "/" in manifest.source.model and is_repo_id(manifest.source.model):
        entries["base_model"] = manifest.source.model
    entries |= {
        "pipeline_tag": manifest.task,
        "library_name": "edgepipe",
        "tags": ["edgepipe", "onnx", "transformers.js"],
    }
    # JSON is YAML, quotes and all.
    return "\n".join(["---", *(f"{key}: {json.dumps(value)}" for key, value in entries.items()), "---"])


def _labels(manifest: Manifest) -> str:
    if not manifest.labels:
        return ""
    shown = ", ".join(f"`{label}`" for label in manifest.labels[:20])
    rest = len(manifest.labels) - 20
    return f"Labels: {shown}{f' and {rest} more' if rest > 0 else ''}."


def _variants(variants: Mapping[str, Variant]) -> str:
    rows = [
        "| dtype | size | compared with | largest difference of a tensor | of a score | label agreement | bound |",
        "|---|---|---|---|---|---|---|",
    ]
    for dtype, variant in variants.items():
        parity = variant.parity
        cells = [dtype, f"{variant.bytes / 1e6:.1f} MB"]
        if parity is None:
            cells += ["not measured", "", "", "", ""]
        else:
            agreement = parity.label_agreement
            cells += [
                f"{parity.reference}, {parity.texts} texts",
                f"{max(parity.max_abs_diff.values(), default=0.0):.2g}",
                "" if parity.max_score_diff is None else f"{parity.max_score_diff:.2g}",
                "" if agreement is None else f"{100 * agreement:.1f} %",
                "held" if parity.passed else "**missed**; written by force",
            ]
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def _usage(manifest: Manifest) -> str:
    dtype = manifest.default_dtype
    return f"""Python, without torch (`pip install 'edgepipe[cpu]'`):

```python
from edgepipe import pipeline

run = pipeline("{manifest.task}", "path/to/this/directory", dtype="{dtype}")
print(run("..."))
```

JavaScript, with [transformers.js](https://huggingface.co/docs/transformers.js):

```js
import {{ env, pipeline }} from "@huggingface/transformers";

env.localModelPath = "path/to/the/parent";
const run = await pipeline("{manifest.task}", "this-directory", {{ dtype: "{dtype}" }});
console.log(await run("..."));
```"""
