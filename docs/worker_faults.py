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
        "a worker cut off from the object store in the middle",
        "it stops with an error after its tries, and another does the work",
        ("faults/test_cut_off.py:test_a_worker_cut_off_from_the_object_store_stops_and_another_does_its_work",),
    ),
    Fault(
        "an object store that refuses for its load, or is slow",
        "requests are repeated up to a bound; decisions and predictions equal those of a folder",
        (
            "loop/test_object_store.py:test_they_are_over_a_change_of_the_world_in_a_busy_store",
            "adapters/test_files.py:test_what_is_put_is_there_whole_and_listed_until_it_is_deleted",
            "adapters/test_files.py:test_a_store_that_stays_busy_is_unavailable_and_nothing_is_half_written",
        ),
    ),
    Fault(
        "an object store that lists late",
        "a run that needs a new model's files ends with an error, nothing is half there, and the next run goes on",
        ("loop/test_object_store.py:test_a_store_that_lists_late_stops_a_run_and_the_next_one_goes_on",),
    ),
    Fault(
        "a session lock lost without its holder's notice",
        "its transactions are refused once another holds the lock",
        ("adapters/test_lock.py:test_a_holder_that_lost_its_lock_records_nothing_after_the_next_one_began",),
    ),
    Fault(
        "a worker's clock is wrong",
        "batches are ordered by number, moments come from the database's clock",
        (
            "faults/test_workers.py:test_a_worker_with_a_wrong_clock_changes_nothing",
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
        "a move of a home killed in the middle",
        "the new home does not count, and the same command completes it",
        (
            "upkeep/test_move.py:test_a_move_that_is_killed_can_be_repeated",
            "upkeep/test_move_places.py:test_a_move_that_is_killed_does_not_count_and_can_be_repeated",
        ),
    ),
    Fault(
        "a move of a home that fails, or begins while a run is at work",
        "the old home stays open, nothing is deleted",
        (
            "upkeep/test_move.py:test_a_home_in_which_something_is_at_work_stays",
            "upkeep/test_move.py:test_a_move_that_fails_leaves_the_old_home_open",
            "upkeep/test_move_places.py:test_a_copy_that_is_not_equal_is_noticed_and_the_old_home_stays_open",
        ),
    ),
)
