"""Where the others live: in the benchmarks' environments, and transformers.js beside this file."""

from __future__ import annotations

from pathlib import Path

from benchmarks.environments import make, optimum_python, run
from benchmarks.environments import transformers_js_command as program_command

__all__ = ["HERE", "make", "optimum_command", "optimum_python", "run", "transformers_js_command"]

HERE = Path(__file__).parent


def optimum_command() -> list[str]:
    """How `ask_optimum.py` is run."""
    return [str(optimum_python()), str(HERE / "ask_optimum.py")]


def transformers_js_command() -> list[str]:
    """How `ask_transformers_js.mjs` is run."""
    return program_command(HERE / "ask_transformers_js.mjs")
