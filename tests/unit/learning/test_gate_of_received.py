"""The rows that judge a model from elsewhere: none that it or the champion was trained on, and enough of them."""

from datetime import datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from trueup.config.sections.promotion import PromoteConfig
from trueup.domain.judging.bootstrap import MIN_BLOCKS
from trueup.domain.learning.training_windows import Hold, gate_of_received
from trueup.domain.types import Window

START, HOUR = datetime(2024, 1, 1), timedelta(hours=1)
HOURS = st.integers(0, 24 * 60)


@given(first=HOURS, length=st.integers(1, 24 * 60), seen=HOURS, gate=st.integers(1, 24 * 40), block=st.integers(1, 48))
def test_no_row_was_seen_and_all_are_of_the_gate_window(first, length, seen, gate, block):
    matured = Window(START + first * HOUR, START + (first + length) * HOUR)
    promote = PromoteConfig(gate_window=gate * HOUR)
    chosen = gate_of_received(matured, START + seen * HOUR, promote, block * HOUR)
    if isinstance(chosen, Hold):
        new = matured.end - max(START + seen * HOUR, matured.start, matured.end - promote.gate_window)
        assert new < (MIN_BLOCKS + 1) * block * HOUR, chosen.reason
        assert "receive it again when there are" in chosen.reason
        return
    assert chosen.end == matured.end
    assert chosen.start >= max(START + seen * HOUR, matured.start)
    assert chosen.end - chosen.start < promote.gate_window + timedelta(days=1)


def test_without_gates_a_few_rows_are_enough():
    matured = Window(START, START + 10 * HOUR)
    few = gate_of_received(matured, START + 9 * HOUR, PromoteConfig(), timedelta(days=1))
    assert isinstance(few, Hold)
    assert gate_of_received(matured, START + 9 * HOUR, PromoteConfig(gates=[]), timedelta(days=1)) == Window(
        START + 9 * HOUR, matured.end
    )
