"""Runs: every fault is found, at its case, and the others are counted; the same seed gives the same run."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.__main__ import main
from tests.fuzz.campaign import FAULTS
from tests.fuzz.faulty_campaign import HUNG, LOST, RAW, WRONG, FaultyCampaign
from tests.fuzz.run import CampaignRun
from tests.runtime.processes import run_python


@pytest.mark.parametrize("workers", [1, 2])
def test_every_fault_is_found_and_the_run_goes_on(workers: int, tmp_path: Path) -> None:
    out = io.StringIO()
    tally = CampaignRun(FaultyCampaign.name, 1, 12, workers=workers, folder=tmp_path, out=out).run()
    assert not tally.stopped
    assert tally.sizes == {
        "equal": 60, "refused": 0, "different": 0, "unchecked": 0, "library": 1,
        "wrong": 1, "raw": 2, "hung": 1, "lost": 1,
    }  # fmt: skip
    found = {}
    for path in tally.files:
        content = json.loads(path.read_text())
        found[content["index"]] = content["kind"]
        assert (content["seed"], content["input"]) == (1, repr(content["index"]))
        assert str(path) in out.getvalue()
    assert found == {0: "raw", WRONG: "wrong", RAW: "raw", HUNG: "hung", LOST: "lost"}
    assert tally.faults == len(found)
    assert tally.describe().endswith("1 wrong, 2 raw, 1 hung, 1 lost")


def test_a_fault_is_run_again_from_its_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tally = CampaignRun(FaultyCampaign.name, 1, 1, first=WRONG, folder=tmp_path, out=io.StringIO()).run()
    assert main(["--again", str(tally.files[0])]) == 1
    assert "wrong: 'another answer'" in capsys.readouterr().out
    changed = json.loads(tally.files[0].read_text()) | {"index": 1}
    tally.files[0].write_text(json.dumps(changed))
    assert main(["--again", str(tally.files[0])]) == 0
    assert "The generators have changed since" in capsys.readouterr().out


def test_an_interrupt_ends_a_run_with_the_counts_so_far(tmp_path: Path) -> None:
    program = """
        import io, os, signal, sys, threading, time
        from pathlib import Path
        from tests.fuzz.faulty_campaign import EndlessCampaign
        from tests.fuzz.run import CampaignRun
        def interrupt():
            while not run.tally.sizes.get("equal"):
                time.sleep(0.05)
            os.kill(os.getpid(), signal.SIGINT)
        signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background ignores it
        run = CampaignRun(EndlessCampaign.name, 1, 10_000, folder=Path(sys.argv[1]), out=io.StringIO())
        threading.Thread(target=interrupt).start()
        tally = run.run()
        print(tally.stopped, 0 < tally.total < 10_000)
    """
    assert run_python(program, str(tmp_path), env={"PYTHONPATH": str(Path(__file__).parents[2])}) == "True True\n"


def test_the_command(tmp_path: Path) -> None:
    """The exit status says whether there was a fault, and the output has versions, seed and counts."""
    command = [sys.executable, "-m", "tests.fuzz", "tokenizers", "--count", "30", "--seed", "5", "--folder", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2], check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "tokenizers: 30 cases from number 0, seed 5, 1 processes" in done.stdout
    assert done.stdout.rstrip().endswith(", ".join(f"0 {kind}" for kind in FAULTS))
    assert "transformers 5." in done.stdout


def test_a_campaign_that_there_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["tokenisers"])
    assert "no campaign tokenisers; there are tokenizers, calls, bundles, exports" in capsys.readouterr().err
