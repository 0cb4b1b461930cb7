"""The signature over a bundle, by the package of OpenSSF's model signing: no cryptography of our own."""

from __future__ import annotations

import os
from pathlib import Path

from edgepipe.errors import BundleError, DependencyError, InputError, first_line


def check_signature(
    folder: Path,
    signature: str | os.PathLike[str],
    public_key: str | os.PathLike[str] | None = None,
    certificate_chain: str | os.PathLike[str] | None = None,
) -> None:
    """Check that a folder is what somebody signed: every file, and none more.

    Args:
        folder: The bundle's directory.
        signature: The file that ``model_signing sign`` wrote.
        public_key: The signer's elliptic key, PEM; or
        certificate_chain: the certificates that the signer's own has to lead to, PEM.

    Raises:
        BundleError: a file is another, missing or not signed; or another key signed it.
        DependencyError: the package is not installed.
        InputError: a file cannot be read, or not one of key and certificates is given.
    """
    if (public_key is None) == (certificate_chain is None):
        raise InputError(
            "a signature is checked with a public key or with certificates: give one of public_key (--public-key) and "
            "certificate_chain (--certificate-chain)"
        )
    for path in (signature, public_key, certificate_chain):
        if path is not None and not Path(path).is_file():
            raise InputError(f"{path} is no file that can be read")
    try:
        from model_signing import verifying
    except ImportError as error:
        raise DependencyError(
            f"a signature is checked by model-signing, which cannot be imported ({error}); pip install "
            "'edgepipe[signing]'"
        ) from error
    config = verifying.Config()
    try:
        if public_key is not None:
            config.use_elliptic_key_verifier(public_key=Path(public_key))
        else:
            config.use_certificate_verifier(certificate_chain=[Path(str(certificate_chain))])
        config.verify(folder, Path(signature))
    except Exception as error:  # its own, OpenSSL's, protobuf's and JSON's
        raise BundleError(
            f"{folder} is not what was signed in {signature}: {first_line(error)}; download it again, and the key from "
            "whom you trust"
        ) from error
