"""What a benchmark has found, as files: JSON for programs, and a page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def command_of(program: str, arguments: list[str]) -> str:
    """The command that makes a result, without the folders of this machine.

    Args:
        program: The module.
        arguments: What it was given.
    """
    own = {"--keep", "--output", "--peers-python", "--llama-python"}
    shown = [each for place, each in enumerate(arguments) if not {each, *arguments[max(place - 1, 0) : place]} & own]
    return " ".join(["python -m", program, *shown])


def write_results(folder: Path, name: str, record: Any, page: str) -> None:
    """Write NAME.json and NAME.md into a folder, and print the page."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    (folder / f"{name}.md").write_text(page, encoding="utf-8")
    print(page)
