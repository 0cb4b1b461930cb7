"""``python -m edgepipe`` is the ``edgepipe`` command."""

from edgepipe.cli import main

main()
