"""Which files of ours a command enters, in order: ``python -m tests.documentation.walk run "I love this"``."""

from __future__ import annotations

import inspect
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

REPOSITORY = Path(__file__).parents[2]


def walk(arguments: list[str]) -> list[str]:
    """The files whose functions are entered by ``edgepipe ARGUMENTS``, each where it is entered first.

    Running the body of a module or of a class does not count: that is what importing it does.
    """
    from edgepipe.cli.main import main

    entered: dict[str, None] = {}

    def profile(frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_flags & inspect.CO_OPTIMIZED and not code.co_name.startswith("<"):
            entered.setdefault(code.co_filename)

    threading.setprofile(profile)
    sys.setprofile(profile)
    sys.argv = ["edgepipe", *arguments]
    try:
        main()
    except SystemExit as end:
        if end.code:
            raise
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]
    roots = [str(REPOSITORY / root) + "/" for root in ("runtime", "export")]
    return [str(Path(path).relative_to(REPOSITORY)) for path in entered if path.startswith(tuple(roots))]


if __name__ == "__main__":
    print(*walk(sys.argv[1:]), sep="\n", file=sys.stderr)
