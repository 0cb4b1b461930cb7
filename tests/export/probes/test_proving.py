"""Variants that another processor has to give, too: here it is this one, in another process."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path

import pytest

from edgepipe import Bundle
from edgepipe.cli.commands.info import describe, render
from edgepipe.errors import ExportError, InputError, ParityError
from edgepipe_export import export
from edgepipe_export.probes.proving import find_prover, prove_variants
from tests.runtime.probed_bundle import turn_weights, write_probed_bundle

HERE = (sys.executable,)


@pytest.fixture(scope="module")
def probed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_probed_bundle(tmp_path_factory.mktemp("probed"))


@pytest.fixture
def folder(probed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(probed, tmp_path / "bundle"))


def proved_on(folder: Path) -> dict[str, tuple[str, ...]]:
    manifest = Bundle.load(folder).manifest
    assert manifest is not None
    return {dtype: variant.proved_on for dtype, variant in manifest.variants.items()}


def test_where_variants_passed_is_in_the_manifest(folder: Path) -> None:
    place, failed = prove_variants(folder, HERE, force=False)
    assert place.startswith("onnxruntime ")
    assert not failed
    assert proved_on(folder) == {"fp32": (place,), "int8": (place,)}
    assert f"int8 on {place}" in render(describe(Bundle.load(folder)))
    Bundle.load(folder).check()


def test_a_variant_that_fails_is_not_written(folder: Path) -> None:
    turn_weights(folder, "int8")
    with pytest.raises(ParityError, match=r"int8: .*computes something else"):
        prove_variants(folder, HERE, force=False)
    _, failed = prove_variants(folder, HERE, force=True)
    assert list(failed) == ["int8"]
    assert proved_on(folder)["int8"] == ()
    assert proved_on(folder)["fp32"] != ()


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (("no-such-emulator", "python"), "No such file"),
        ((sys.executable, "-c", "print('hello')"), "exit status 0"),
        ((sys.executable, "-c", "print('{}')"), "no result of a check"),
        ((sys.executable, "-c", "raise SystemExit('it is broken')"), "it is broken"),
    ],
    ids=["missing", "no_json", "other_json", "broken"],
)
def test_a_command_that_does_not_work(folder: Path, command: tuple[str, ...], message: str) -> None:
    with pytest.raises(ExportError, match=message):
        prove_variants(folder, command, force=False)


def test_the_command_is_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_prover(None) == ()
    monkeypatch.setenv("EDGEPIPE_PROVE_ON_X86_VNNI", "emulator -cpu 'some one' python")
    assert find_prover("x86-vnni") == ("emulator", "-cpu", "some one", "python")
    with pytest.raises(InputError, match=r"prove_on \(--prove-on\) arm64 needs EDGEPIPE_PROVE_ON_ARM64"):
        find_prover("arm64")
    monkeypatch.setenv("EDGEPIPE_PROVE_ON_ARM64", "'open")
    with pytest.raises(InputError, match="is no command"):
        find_prover("arm64")


def test_the_folder_stands_in_the_command(folder: Path) -> None:
    program = "import sys; sys.exit('it got ' + sys.argv[1])"
    with pytest.raises(ExportError, match=f"it got {folder}:rw"):
        prove_variants(folder, (sys.executable, "-c", program, "{folder}:rw"), force=False)


def test_an_export_for_another_processor(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    export(checkpoint, tmp_path / "unproved", target="arm64", verify=False, progress=True)
    assert (
        "were measured on this processor, which has other kernels; run edgepipe check on the device"
        in capfd.readouterr().err
    )
    monkeypatch.setenv("EDGEPIPE_PROVE_ON_ARM64", shlex.join(HERE))
    export(checkpoint, tmp_path / "proved", target="arm64", verify=False, prove_on="arm64")
    assert len(proved_on(tmp_path / "proved")["fp32"]) == 1
    with pytest.raises(InputError, match="EDGEPIPE_PROVE_ON_RISCV"):
        export(checkpoint, tmp_path / "never", prove_on="riscv")
    monkeypatch.setenv("EDGEPIPE_PROVE_ON_ARM64", shlex.join([sys.executable, "-c", "raise SystemExit(7)"]))
    with pytest.raises(ExportError, match="cannot be proved"):
        export(checkpoint, tmp_path / "failed", target="arm64", verify=False, prove_on="arm64")
    assert not (tmp_path / "failed").exists()
