"""Where the others live: environments of their own, made when they are not there."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).parent
# The one that the benchmarks make and use, with the same packages.
OPTIMUM = HERE.parents[1] / "benchmarks" / ".venv-optimum"


def optimum_command() -> list[str]:
    """How `ask_optimum.py` is run: an interpreter that has optimum-onnx 0.1.0, with torch and onnxruntime as here."""
    python = OPTIMUM / "bin" / "python"
    if not (OPTIMUM / ".ready").exists():
        print(f"making {OPTIMUM.relative_to(HERE.parents[1])}", file=sys.stderr)
        run([sys.executable, "-m", "venv", "--clear", str(OPTIMUM)])
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        run([*pip, f"torch=={version('torch').partition('+')[0]}"])
        run([*pip, "optimum-onnx[onnxruntime]==0.1.0", f"onnxruntime=={version('onnxruntime')}"])
        (OPTIMUM / ".ready").touch()
    return [str(python), str(HERE / "ask_optimum.py")]


def transformers_js_command() -> list[str]:
    """How `ask_transformers_js.mjs` is run, with the packages of `package.json` beside it."""
    if not (HERE / "node_modules" / "@huggingface" / "transformers").is_dir():
        print("installing transformers.js", file=sys.stderr)
        # Without scripts: the binaries for the CPU are in the packages, and the scripts would fetch those for CUDA.
        run(["npm", "install", "--ignore-scripts", "--no-package-lock", "--no-audit", "--no-fund"])
    return ["node", str(HERE / "ask_transformers_js.mjs")]


def run(command: list[str]) -> None:
    """Run a command; what it printed is shown only if it failed.

    Raises:
        SystemExit: it failed, or is not installed.
    """
    try:
        done = subprocess.run(
            command, cwd=HERE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
    except FileNotFoundError:
        raise SystemExit(f"{command[0]} is not installed; transformers.js needs Node 20 or newer with npm") from None
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout}")
