"""Where the others live: optimum in the benchmarks' environment, transformers.js beside this file."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from benchmarks.environments import make, optimum_python, run

__all__ = ["HERE", "make", "optimum_command", "optimum_python", "run", "transformers_js_command"]

HERE = Path(__file__).parent


def optimum_command() -> list[str]:
    """How `ask_optimum.py` is run."""
    return [str(optimum_python()), str(HERE / "ask_optimum.py")]


def transformers_js_command(program: Path = HERE / "ask_transformers_js.mjs") -> list[str]:
    """How a program for transformers.js is run, with the packages of `package.json` beside it.

    Raises:
        SystemExit: Node is not installed, or its packages could not be.
    """
    if shutil.which("npm") is None:
        raise SystemExit("npm is not installed; transformers.js needs Node 20 or newer with npm")
    if not (program.parent / "node_modules" / "@huggingface" / "transformers").is_dir():
        print("installing transformers.js", file=sys.stderr)
        # Without scripts: the binaries for the CPU are in the packages, and the scripts would fetch those for CUDA.
        run(["npm", "install", "--ignore-scripts", "--no-package-lock", "--no-audit", "--no-fund"], program.parent)
    return ["node", str(program)]
