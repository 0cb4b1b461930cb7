"""The ``edgepipe`` command: what all its commands share; each is a file in ``commands``."""
