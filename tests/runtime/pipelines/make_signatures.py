"""The options of the tasks whose reference is transformers 4.57, read from its signatures::

    python -m tests.runtime.pipelines.make_signatures

Run it where transformers 4.57 is installed; it writes ``signatures.json`` beside itself.
"""

from __future__ import annotations

import inspect
import json
from pathlib import Path

FILE = Path(__file__).with_name("signatures.json")
PIPELINES = (
    "QuestionAnsweringPipeline",
    "Text2TextGenerationPipeline",
    "SummarizationPipeline",
    "TranslationPipeline",
)


def parameters(function: object) -> list[str]:
    """The named parameters of a function, without those that stand for any."""
    found = inspect.signature(function).parameters.values()  # type: ignore[arg-type]
    named = [each.name for each in found if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)]
    return [name for name in named if name != "self"]


def main() -> None:
    """Write the file."""
    import transformers

    names = {
        "version": transformers.__version__,
        "pipeline": parameters(transformers.pipeline),
        "generate": parameters(transformers.GenerationMixin.generate),
        "GenerationConfig": [name for name in vars(transformers.GenerationConfig()) if not name.startswith("_")],
    }
    for name in PIPELINES:
        kind = getattr(transformers, name)
        names[name] = [*parameters(kind._sanitize_parameters), *parameters(kind.__call__)]
    FILE.write_text(json.dumps(names, indent=1) + "\n")


if __name__ == "__main__":
    main()
