"""Signatures over a bundle, made by the package that checks them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from edgepipe import check
from edgepipe.checking.signature import check_signature
from edgepipe.errors import BundleError, DependencyError, InputError
from tests.runtime.probed_bundle import write_probed_bundle
from tests.runtime.small_bundle import flip_last_byte

serialization = pytest.importorskip("cryptography.hazmat.primitives.serialization")
signing = pytest.importorskip("model_signing.signing")


def make_keys(folder: Path) -> tuple[Path, Path]:
    """A private and a public elliptic key."""
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    private, public = folder / "key.pem", folder / "key.pub"
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    private.write_bytes(secret)
    public.write_bytes(key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo))
    return private, public


@pytest.fixture
def signed(tmp_path: Path) -> tuple[Path, Path, Path]:
    """A bundle, its signature, and the key."""
    folder = write_probed_bundle(tmp_path / "bundle", ("fp32",))
    private, public = make_keys(tmp_path)
    signing.Config().use_elliptic_key_signer(private_key=private).sign(folder, tmp_path / "bundle.sig")
    return folder, tmp_path / "bundle.sig", public


def test_a_bundle_that_was_signed(signed: tuple[Path, Path, Path]) -> None:
    folder, signature, key = signed
    found = check(folder, signature=signature, public_key=key)
    assert (found.passed, found.altered) == (True, ())


def test_a_file_that_is_another(signed: tuple[Path, Path, Path]) -> None:
    folder, signature, key = signed
    flip_last_byte(folder / "tokenizer_config.json")
    found = check(folder, signature=signature, public_key=key)
    assert not found.passed
    assert "is not what was signed" in found.altered[0]
    assert "tokenizer_config.json" in found.altered[0]


def test_a_file_that_came_later(signed: tuple[Path, Path, Path]) -> None:
    folder, signature, key = signed
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(BundleError, match=r"Extra files.*notes\.txt"):
        check_signature(folder, signature, key)


def test_another_key(signed: tuple[Path, Path, Path], tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    _, other = make_keys(tmp_path / "other")
    with pytest.raises(BundleError, match="is not what was signed"):
        check_signature(signed[0], signed[1], other)


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\xfe", b'{"mediaType": 3}'])
def test_what_is_no_signature(signed: tuple[Path, Path, Path], content: bytes) -> None:
    signed[1].write_bytes(content)
    with pytest.raises(BundleError, match="is not what was signed"):
        check_signature(*signed)


def test_what_is_missing(signed: tuple[Path, Path, Path], tmp_path: Path) -> None:
    folder, signature, key = signed
    with pytest.raises(InputError, match="give one of public_key"):
        check_signature(folder, signature)
    with pytest.raises(InputError, match="give one of public_key"):
        check_signature(folder, signature, key, key)
    with pytest.raises(InputError, match="is no file that can be read"):
        check_signature(folder, tmp_path / "none", key)
    with pytest.raises(InputError, match=r"give signature \(--signature\) too"):
        check(folder, public_key=key)


def test_the_package_is_not_installed(signed: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "model_signing", None)
    with pytest.raises(DependencyError, match=r"pip install 'edgepipe\[signing\]'"):
        check_signature(*signed)
