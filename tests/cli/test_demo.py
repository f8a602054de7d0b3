"""The demo tells of a loop that ran month by month, and of no other."""

from pathlib import Path


def test_a_home_in_which_months_were_handled_at_once_is_refused(trueup, prefect_server, monkeypatch):  # noqa: ARG001
    monkeypatch.setenv("TRUEUP_CONFIGS", str(Path(__file__).parents[2] / "configs"))
    assert trueup("run", "flight_delays", "--as-of", "2013-03-01", "--retrain", "never").code == 0

    answer = trueup("demo", "--to", "2013-02")

    assert answer.code == 2
    assert "not made month by month" in answer.err
    assert "TRUEUP_HOME=.trueup-demo trueup demo" in answer.err
