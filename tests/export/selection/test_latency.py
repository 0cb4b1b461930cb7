"""How long variants take, with a clock that is told what to say."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgepipe.errors import CheckpointError
from edgepipe_export import export
from edgepipe_export.selection.latency import Latency, foreign_load, is_noisy, measure


def test_rounds_go_in_turn_and_noise_is_noticed() -> None:
    order: list[str] = []
    now = 0.0

    def run(name: str, took: Callable[[], float]) -> Callable[[], int]:
        def once() -> int:
            nonlocal now
            order.append(name)
            now += took()
            return 2

        return once

    steady = measure({"a": run("a", lambda: 0.004), "b": run("b", lambda: 0.002)}, rounds=5, clock=lambda: now)
    assert order == ["a", "b"] * 6
    assert steady["a"].median_ms == pytest.approx(2)
    assert steady["b"].median_ms == pytest.approx(1)
    assert not is_noisy(steady)
    order.clear()
    times = itertools.cycle([0.001, 0.009])
    told: list[tuple[int, int]] = []
    noisy = {"a": run("a", lambda: next(times))}
    assert is_noisy(
        measure(noisy, rounds=5, clock=lambda: now, progress=lambda done, total: told.append((done, total)))
    )
    assert len(order) == 21
    assert told == [(done, -(-done // 5) * 5) for done in range(1, 21)]
    order.clear()
    times = itertools.chain([0.001, 0.009, 0.001, 0.009, 0.001, 0.009], itertools.repeat(0.001))
    assert not is_noisy(measure(noisy, rounds=5, clock=lambda: now))
    assert len(order) == 16, "as many as it takes"


def test_one_noisy_variant_makes_all_noisy() -> None:
    assert not is_noisy({"a": Latency(1.0, 0.15)})
    assert is_noisy({"a": Latency(1.0, 0.0), "b": Latency(1.0, 0.1501)})


def test_what_takes_no_time_has_no_spread() -> None:
    assert measure({"a": lambda: 1}, rounds=2, clock=lambda: 0.0) == {"a": Latency(0.0, 0.0)}


@pytest.mark.parametrize(("load", "found"), [(0.9, None), (1.0, None), (3.5, (3.5, 2))])
def test_a_busy_machine_is_told_by_its_load(
    monkeypatch: pytest.MonkeyPatch, load: float, found: tuple[float, int] | None
) -> None:
    monkeypatch.setattr("os.getloadavg", lambda: (load, 0.0, 0.0), raising=False)
    monkeypatch.setattr("edgepipe_export.selection.latency.available_threads", lambda: 2)
    assert foreign_load() == found


def test_a_system_without_a_load_average_is_taken_for_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("os.getloadavg", raising=False)
    assert foreign_load() is None


@pytest.mark.parametrize("dtypes", ["auto", ("fp32",)])
def test_an_export_says_so_where_it_measures_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], dtypes: Any
) -> None:
    monkeypatch.setattr("os.getloadavg", lambda: (99.5, 0.0, 0.0), raising=False)
    (tmp_path / "config.json").write_text('{"architectures": ["BertForSequenceClassification"]}', encoding="utf-8")
    (tmp_path / "model.safetensors").write_bytes(b"\x02" + bytes(7) + b"{}")
    with pytest.raises(CheckpointError):  # nothing can be loaded; it is said before
        export(tmp_path, tmp_path / "out", dtypes=dtypes, progress=True)
    told = capfd.readouterr().err
    assert ("busy with other programs: load average 99.5" in told) == (dtypes == "auto")
