"""The benchmark of estimates: NannyML's published figures, and streams whose truth is known."""

import os
import subprocess
import sys

import numpy as np
import pytest

from benchmarks import estimate_losses, estimate_tables, estimates
from benchmarks.estimate_streams import FROM, World

PUBLISHED = [0.971, 0.971, 0.971, 0.971, 0.971, 0.961, 0.962, 0.961, 0.963, 0.961]
REALISED = [0.971, 0.970, 0.976, 0.968, 0.970, 0.960, 0.959, 0.959, 0.963, 0.958]
REALISED_MAE = [853, 853, 846, 855, 849, 703, 701, 685, 706, 698]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """NannyML's wheel from the package index; without one a CI server fails, and others skip aloud."""
    folder = tmp_path_factory.mktemp("nannyml")
    words = [sys.executable, "-m", "pip", "download", "-q", "nannyml==0.13.1", "--no-deps", "-d", str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
    found = estimate_tables.wheel(folder)
    if found is None:
        reason = f"NannyML's wheel cannot be downloaded: {done.stderr.strip()[-300:]}"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    return found


@pytest.mark.thorough  # downloads 23 MB
def test_the_car_loans_give_the_published_figures_and_alarm_in_the_second_half_only(wheel):
    case = estimate_tables.car_loans(wheel)
    played = list(estimates.play(case, estimates.fit(case)))
    assert [b.auc[0] for b in played] == pytest.approx(PUBLISHED, abs=0.003)
    assert [b.auc[1] for b in played] == pytest.approx(REALISED, abs=0.0006)
    assert [b.alarm for b in played] == [False] * 5 + [True] * 5
    assert not any(b.off for b in played)


@pytest.mark.thorough
def test_the_cards_alarm_and_the_check_finds_their_changed_relation(wheel):
    case = estimate_tables.cards(wheel)
    played = list(estimates.play(case, estimates.fit(case)))
    assert [b.alarm for b in played] == [b.off for b in played] == [False] * 5 + [True] * 5


@pytest.mark.thorough
def test_the_employment_of_three_years_is_estimated_within_a_hundredth(wheel):
    case = estimate_tables.employment(wheel)
    played = list(estimates.play(case, estimates.fit(case)))
    assert all(abs(np.subtract(*b.auc)) < 0.01 and abs(np.subtract(*b.log_loss)) < 0.01 for b in played)
    assert not any(b.alarm or b.off for b in played)


def test_streams_that_do_not_change_hardly_alarm():
    played = [estimates.stream(World(rows=100), seed) for seed in range(10)]
    assert sum(any(b.alarm for b in s) for s in played) <= 1
    assert sum(b.off for s in played for b in s) <= 2


def test_narrower_inputs_alarm_and_a_changed_relation_is_told_by_the_check():
    shifted, changed = estimates.stream(World(narrowed=0.6), 1), estimates.stream(World(slope=0.3), 1)
    assert [b.alarm for b in shifted] == [k >= FROM for k in range(len(shifted))]
    assert not any(b.off for b in shifted)
    assert not any(b.alarm for b in changed)
    assert any(b.off for b in changed[FROM : FROM + 2])
    assert not any(b.off for b in changed[:FROM])


def test_a_folder_without_the_wheel_is_named(tmp_path, capsys):
    assert estimates.published(tmp_path) == {}
    assert "pip download nannyml" in capsys.readouterr().err


@pytest.mark.thorough
def test_the_car_prices_are_estimated_as_published_and_do_not_alarm(wheel):
    case = estimate_losses.car_prices(wheel)
    played = list(estimate_losses.play(case, estimate_losses.fit(case, most=60_000)))
    published = [850, 849, 843, 849, 844, 721, 718, 717, 720, 710]
    assert [b["mae"][0] for b in played] == pytest.approx(published, abs=3)
    assert [b["mae"][1] for b in played] == pytest.approx(REALISED_MAE, abs=0.6)
    assert not any(b["alarm"] or b["off"] for b in played)


def test_streams_of_a_regression_tell_a_changed_relation_from_no_change():
    usual, changed = (estimate_losses.stream_figures(4, 0.3, effect) for effect in (1.0, -1.0))
    assert usual["last six: off"] <= 0.1
    assert changed["off within two batches"] == 1.0
    assert changed["streams with an alarm in the last six"] == 0.0
