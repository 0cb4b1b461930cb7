"""The ``edgepipe`` command, one file a command."""
