"""Python in a process of its own: what one session must not see of another, or what must not be imported."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Mapping

# Put before a program: importing any of these raises ImportError, as where they are not installed.
BLOCK = """
import sys
class _Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}} (blocked by the test)", name=name)
sys.meta_path.insert(0, _Blocked())
"""


def run_python(
    program: str, *arguments: str, blocked: tuple[str, ...] = (), env: Mapping[str, str] | None = None
) -> str:
    """Run a program and return what it printed.

    Args:
        program: Python source; indented as the test is.
        *arguments: Its ``sys.argv[1:]``.
        blocked: Top-level packages that cannot be imported.
        env: Beside this process's environment.

    Raises:
        AssertionError: the program failed; the message is its standard error.
    """
    source = (BLOCK.format(names=set(blocked)) if blocked else "") + textwrap.dedent(program)
    done = subprocess.run(
        [sys.executable, "-c", source, *arguments],
        capture_output=True,
        text=True,
        env=os.environ | dict(env or {}),
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
