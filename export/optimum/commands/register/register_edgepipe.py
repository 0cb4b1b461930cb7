"""``optimum-cli export edgepipe``: optimum finds this file in the namespace ``optimum.commands.register``.

Neither this folder nor those above it may have an ``__init__.py``: optimum's own packages have none (PEP 420).
"""

from __future__ import annotations

from argparse import ArgumentParser

from optimum.commands.base import BaseOptimumCLICommand, CommandInfo
from optimum.commands.export.base import ExportCommand

from edgepipe.cli.optimum_export import add_arguments, export_and_exit


class EdgepipeExportCommand(BaseOptimumCLICommand):
    """The options of ``edgepipe export``, with the model and the task as optimum's other exports take them."""

    COMMAND = CommandInfo(name="edgepipe", help="Export text models to edgepipe bundles, compared with PyTorch.")

    @staticmethod
    def parse_args(parser: ArgumentParser) -> None:
        """Add the arguments; optimum calls this when it starts."""
        add_arguments(parser)

    def run(self) -> None:
        """Export, and leave with the exit status of ``edgepipe export``."""
        export_and_exit(self.args)


REGISTER_COMMANDS = [(EdgepipeExportCommand, ExportCommand)]
