"""``python -m edgepipe`` is the ``edgepipe`` command."""

from edgepipe.cli.main import main

main()
