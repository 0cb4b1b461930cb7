"""``edgepipe bundle-wheels``: what a device installs without a network, in a folder."""

from __future__ import annotations

import platform as host
import sys
from pathlib import Path

import click

from edgepipe.cli.shared_options import echo_json, json_option, quiet_option

_MEGABYTE = 1e6


@click.command("bundle-wheels")
@click.argument("output", metavar="OUT", type=click.Path(path_type=Path))
@click.option(
    "--platform",
    help="The device's: linux_aarch64, linux_x86_64, or another tag as pip takes it.  [default: this machine's]",
)
@click.option("--python", "python", metavar="VERSION", help="The device's Python.  [default: this one's]")
@click.option(
    "--wheel",
    type=click.Path(path_type=Path),
    help="edgepipe's own wheel.  [default: made of the package that runs this command]",
)
@json_option
@quiet_option
def bundle_wheels(
    output: Path, platform: str | None, python: str | None, wheel: Path | None, as_json: bool, quiet: bool
) -> None:
    """Write the wheels that a device needs into the new folder OUT, for an installation without a network.

    They are edgepipe, onnxruntime, tokenizers, numpy and click, each with its sha256 in OUT/requirements.txt, and
    nothing that these ask for and do not import. The Hub's client is left out: a device that has this set runs bundles
    from directories. pip fetches the wheels.
    """
    from edgepipe.cli.device_wheels import describe_wheels, install_command, write_wheels

    platform = platform or f"{host.system().lower()}_{host.machine().lower()}"
    python = python or f"{sys.version_info.major}.{sys.version_info.minor}"
    if not quiet:
        click.echo(f"Fetching the wheels for {platform} and Python {python}", err=True)
    wheels = write_wheels(output, platform, python, wheel)
    if as_json:
        echo_json(describe_wheels(output, wheels, platform, python))
        return
    for each in wheels:
        click.echo(f"{output / each.file}  {each.bytes / _MEGABYTE:.1f} MB")
    click.echo(f"Copy {output} to the device, and there: {install_command(output)}")
