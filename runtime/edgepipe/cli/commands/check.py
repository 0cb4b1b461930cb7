"""``edgepipe check``: a bundle beside what it gave where it was made, on this machine and without the checkpoint."""

from __future__ import annotations

from pathlib import Path

import click

from edgepipe.cli.shared_options import (
    complete_folder,
    device_option,
    dtype_completion,
    echo_comparison,
    json_option,
    quiet_download_option,
    require_passed,
)


@click.command()
@click.argument("bundle", required=False, shell_complete=complete_folder)
@click.option("--dtype", shell_complete=dtype_completion, help="Variant.  [default: all that are there]")
@device_option
@click.option("--threads", "num_threads", type=click.IntRange(min=1), help="[default: what the process may use]")
@click.option(
    "--signature", type=click.Path(path_type=Path), help="A file of OpenSSF's model signing, which has to hold."
)
@click.option("--public-key", type=click.Path(path_type=Path), help="The key that it was made with, PEM.")
@click.option("--certificate-chain", type=click.Path(path_type=Path), help="Or certificates, PEM.")
@json_option
@quiet_download_option
def check(
    bundle: str | None,
    dtype: str | None,
    device: str | None,
    num_threads: int | None,
    signature: Path | None,
    public_key: Path | None,
    certificate_chain: Path | None,
    as_json: bool,
) -> None:
    """Check that a BUNDLE gives on this machine what it gave where it was made.

    Its files, its token ids, the outputs of each variant and the results are compared with the bundle's probes. Without
    BUNDLE, the embedded default is checked. The exit status is 1 where something is wrong.
    """
    from edgepipe.checking.bundle_check import check as check_bundle
    from edgepipe.factory import embedded_bundle

    found = check_bundle(
        embedded_bundle() if bundle is None else bundle,
        dtype=dtype,
        device=device,
        num_threads=num_threads,
        signature=signature,
        public_key=public_key,
        certificate_chain=certificate_chain,
    )
    echo_comparison(found, as_json=as_json)
    require_passed(found)
