"""The training code beside the package is not installed: put its folder last on the path."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / "models"))
