"""The bundle's README.md: a model card in the form the Hub reads, and what people need to run the bundle."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgepipe.bundle.hub import is_repo_id
from edgepipe.bundle.layout import STORED_AS
from edgepipe.bundle.manifest import Manifest, Variant
from edgepipe.errors import escape_controls

_FRONT_MATTER = re.compile(r"\A---\r?\n(.*?)\r?\n---", re.DOTALL)
_PLAIN = re.compile(r"[\w./ ()+-]*")
# The longest card that is copied, in characters.
_LONGEST_CARD = 1_000_000
_BACKTICKS = re.compile("`+")
_LICENSE = re.compile(r"^license:[ \t]*['\"]?([\w.-]+)['\"]?[ \t]*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class SourceCard:
    """What a checkpoint's own model card says.

    Attributes:
        license_id: The license it names, as the Hub abbreviates it; None where it names none.
        text: The card without its front matter; empty where there is no card.
    """

    license_id: str | None = None
    text: str = ""


def read_source_card(checkpoint: Path | None) -> SourceCard:
    """The model card of a checkpoint's directory; an empty one where there is none."""
    path = None if checkpoint is None else checkpoint / "README.md"
    if path is None or not path.is_file():
        return SourceCard()
    with path.open(encoding="utf-8", errors="replace") as file:
        content = file.read(_LONGEST_CARD)
    header = _FRONT_MATTER.match(content)
    if header is None:
        return SourceCard(text=escape_controls(content.strip()))
    found = _LICENSE.search(header.group(1))
    return SourceCard(None if found is None else found.group(1), escape_controls(content[header.end() :].strip()))


def render_model_card(manifest: Manifest, original: SourceCard) -> str:
    """The text of the card: what was exported and how to run it, then what the source's card says.

    Args:
        manifest: The finished manifest.
        original: The card of the source checkpoint.
    """
    source = manifest.source
    revision = "" if source.revision is None else f" at revision {_code(source.revision)}"
    name = _code(source.model)
    if source.base is not None:
        commit = "" if source.base_revision is None else f" at revision {_code(source.base_revision)}"
        revision += f", an adapter for {_code(source.base)}{commit},"
    limit = "has no limit" if manifest.max_length is None else f"is at most {manifest.max_length} tokens long"
    sections = [
        _front_matter(manifest, original.license_id),
        f"# {source.model if _PLAIN.fullmatch(source.model) else name}, exported for {manifest.task}",
        f"Made by [edgepipe](https://pypi.org/project/edgepipe/) from {name}{revision} "
        f"({_code(source.architecture)}). What the model is good for, and what not, "
        + ("stands in its own card, below." if original.text else "its own card says."),
        _labels(manifest),
        f"An input {limit} ({manifest.max_length_source}).",
        "## Variants",
        _variants(manifest.variants),
        f"Measured on: {manifest.machine}.",
        "## Use",
        _usage(manifest),
        "## Made with",
        ", ".join(f"{name} {version}" for name, version in manifest.versions.items()) + ".",
        f"# The card of {name}" if original.text else "",
        original.text,
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _code(text: str) -> str:
    """A name of a stranger as code, in which nothing is markup (https://github.github.com/gfm/#code-spans)."""
    line = escape_controls(" ".join(text.split()))[:200]
    longest = max(map(len, _BACKTICKS.findall(line)), default=0)
    blank = " " if line.startswith("`") or line.endswith("`") or not line else ""
    return f"{'`' * (longest + 1)}{blank}{line}{blank}{'`' * (longest + 1)}"


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
    shown = ", ".join(map(_code, manifest.labels[:20]))
    rest = len(manifest.labels) - 20
    return f"Labels: {shown}{f' and {rest} more' if rest > 0 else ''}."


def _variants(variants: Mapping[str, Variant]) -> str:
    rows = [
        "| dtype | size | compared with | largest difference of a tensor | of a score | label agreement | bound |",
        "|---|---|---|---|---|---|---|",
    ]
    for dtype, variant in variants.items():
        parity = variant.parity
        shared = f", that of {STORED_AS[dtype]}" if dtype in STORED_AS else ""
        cells = [dtype, f"{variant.bytes / 1e6:.1f} MB{shared}"]
        if parity is None:
            cells += ["not measured", "", "", "", ""]
        else:
            agreement = parity.label_agreement
            cells += [
                f"{parity.reference}, {parity.measured_on}",
                f"{max(parity.max_abs_diff.values(), default=0.0):.2g}",
                "" if parity.max_score_diff is None else f"{parity.max_score_diff:.2g}",
                "" if agreement is None else f"{100 * agreement:.1f} %",
                "held" if parity.passed else "**missed**; written by force",
            ]
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def _usage(manifest: Manifest) -> str:
    dtype = manifest.default_dtype
    variant = manifest.variants.get(dtype)
    device = None if variant is None or variant.parity is None else variant.parity.device
    extra, where = ("cpu", "") if device is None else (device, f', device="{device}"')
    return f"""Python, without torch (`pip install 'edgepipe[{extra}]'`):

```python
from edgepipe import pipeline

run = pipeline("{manifest.task}", "path/to/this/directory", dtype="{dtype}"{where})
print(run("..."))
```

JavaScript, with [transformers.js](https://huggingface.co/docs/transformers.js):

```js
import {{ env, pipeline }} from "@huggingface/transformers";

env.localModelPath = "path/to/the/parent";
const run = await pipeline("{manifest.task}", "this-directory", {{ dtype: "{STORED_AS.get(dtype, dtype)}" }});
console.log(await run("..."));
```"""
