"""Faults of several workers on one home, what must come of each, and the tests that inject it."""

from __future__ import annotations

from docs.fault import Fault

_POSTGRESQL = "adapters/test_postgresql.py:"

WORKER_FAULTS = (
    Fault(
        "a worker killed at a crash point or at any moment, others work on the same batch",
        "each batch, retrain and promotion once; the ledger verifies",
        ("faults/test_workers.py:test_each_batch_retrain_and_promotion_happens_once",),
    ),
    Fault(
        "a worker cut off from the database in the middle",
        "another takes over within a minute or so; the first records nothing more",
        ("faults/test_cut_off.py:test_another_worker_takes_over_and_the_first_records_nothing_more",),
    ),
    Fault(
        "a session lock lost without its holder's notice",
        "its transactions are refused once another holds the lock",
        ("adapters/test_lock.py:test_a_holder_that_lost_its_lock_records_nothing_after_the_next_one_began",),
    ),
    Fault(
        "a worker's clock is wrong",
        "moments for retention and expiry come from the database's clock",
        (
            "adapters/test_marks.py:test_a_home_on_postgresql_goes_by_its_clock",
            "adapters/test_marks.py:test_the_first_look_marks_and_a_late_second_one_removes",
        ),
    ),
    Fault(
        "PostgreSQL restarted, or a connection cut in a transaction",
        "processes wait, steps are tried again, nothing half is left",
        (
            _POSTGRESQL + "test_a_process_waits_for_a_server_that_restarts",
            _POSTGRESQL + "test_a_transaction_that_is_cut_is_a_transient_error_and_leaves_nothing",
        ),
    ),
    Fault(
        "a pooler that gives each transaction another session",
        "noticed at the start and refused",
        (_POSTGRESQL + "test_a_pooler_in_transaction_mode_is_refused",),
    ),
    Fault(
        "a second machine with another key of the ledger",
        "stopped before it signs anything",
        (
            "ledger/test_signing.py:test_another_key_than_that_of_the_newest_entry_signs_nothing",
            "ledger/test_signing.py:test_no_second_key_is_made_for_a_ledger_that_is_signed",
        ),
    ),
    Fault(
        "a move of a home that fails, or begins while a run is at work",
        "the old home stays open, nothing is deleted",
        (
            "upkeep/test_move.py:test_a_home_in_which_something_is_at_work_stays",
            "upkeep/test_move.py:test_a_move_that_fails_leaves_the_old_home_open",
        ),
    ),
)
