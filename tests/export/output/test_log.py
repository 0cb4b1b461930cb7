from __future__ import annotations

import logging
import os
import re
import sys
import tempfile
import warnings
from pathlib import Path
from typing import NoReturn

import pytest

from edgepipe.errors import DependencyError, EdgepipeError, ExportError, ParityError
from edgepipe_export.output.log import log_to_file
from edgepipe_export.output.progress import Progress


@pytest.fixture(autouse=True)
def own_temporary_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def make_noise() -> None:
    print("from print")
    print("from stderr", file=sys.stderr)
    os.write(1, b"from descriptor 1\n")
    os.write(2, b"from descriptor 2\n")
    warnings.warn("from warnings", stacklevel=1)
    logging.getLogger("noisy").warning("from logging")


def make_noise_and_raise(error: BaseException) -> NoReturn:
    make_noise()
    raise error


def test_noise_is_kept_from_sight_and_the_log_deleted(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    early = logging.StreamHandler()  # holds standard error as it is now, as those of torch do
    logging.getLogger("noisy").addHandler(early)
    with log_to_file(lambda: "test") as path:
        make_noise()
        content = path.read_text()
    logging.getLogger("noisy").removeHandler(early)
    for source in ("print", "stderr", "descriptor 1", "descriptor 2", "warnings", "logging"):
        assert f"from {source}" in content
    assert capfd.readouterr() == ("", "")
    assert os.listdir(tmp_path) == []


def test_what_was_imported_meanwhile_writes_where_it_should(capsys: pytest.CaptureFixture[str]) -> None:
    with log_to_file(lambda: "test"):
        late = logging.StreamHandler()  # as the one of transformers, where it is imported in the block
        late.flush = sys.stderr.flush  # type: ignore[method-assign]
    logging.getLogger("noisy").addHandler(late)
    logging.getLogger("noisy").warning("from logging")
    logging.getLogger("noisy").removeHandler(late)
    assert capsys.readouterr().err == "from logging\n"


def test_output_goes_where_it_went_before_once_the_block_ends(capfd: pytest.CaptureFixture[str]) -> None:
    with log_to_file(lambda: "test"):
        print("hidden")
    print("shown")
    os.write(2, b"shown too\n")
    assert capfd.readouterr() == ("shown\n", "shown too\n")


@pytest.mark.parametrize("error", [ParityError, DependencyError])
def test_an_error_of_ours_points_to_the_log(error: type[EdgepipeError]) -> None:
    with pytest.raises(error, match=r"it failed \(log: .*\.log\)$") as caught, log_to_file(lambda: "test"):
        make_noise_and_raise(error("it failed"))
    path = re.search(r"log: (.*)\)", str(caught.value))
    assert path is not None
    assert "from descriptor 2" in Path(path[1]).read_text()


def test_an_empty_log_is_not_mentioned(tmp_path: Path) -> None:
    with pytest.raises(ParityError, match=r"^it failed$"), log_to_file(lambda: "test"):
        raise ParityError("it failed")
    assert os.listdir(tmp_path) == []


def test_an_error_from_below_becomes_ours_with_its_traceback_in_the_log() -> None:
    with (
        pytest.raises(ExportError, match=r"^trace failed: ZeroDivisionError: .* \(log: ") as caught,
        log_to_file(lambda: "trace"),
    ):
        _ = 1 // 0
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    path = re.search(r"log: (.*)\)", str(caught.value))
    assert path is not None
    assert "Traceback" in Path(path[1]).read_text()


def test_an_interrupt_passes_and_leaves_no_log(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), log_to_file(lambda: "test"):
        make_noise_and_raise(KeyboardInterrupt())
    assert os.listdir(tmp_path) == []


def test_loggings_last_resort_may_be_a_handler(capfd: pytest.CaptureFixture[str]) -> None:
    logger, last = logging.getLogger("tests.last_resort"), logging.lastResort
    assert last is not None
    logger.addHandler(last)
    logger.propagate = False
    try:
        with log_to_file(lambda: "trace"):
            logger.warning("noise")
        assert capfd.readouterr().err == ""
        logger.warning("afterwards")
        assert capfd.readouterr().err == "afterwards\n"
    finally:
        logger.removeHandler(last)


def test_progress_is_shown_through_the_log(capfd: pytest.CaptureFixture[str]) -> None:
    with Progress(shown=True) as stages, log_to_file(lambda: "test"):
        with stages.stage("resolve"):
            make_noise()
        with pytest.raises(ValueError, match="no"), stages.stage("load"):
            raise ValueError("no")
    output, error = capfd.readouterr()
    assert output == ""
    assert re.fullmatch(r"  resolve +\d+\.\d s\n  load +stopped\n", error)
