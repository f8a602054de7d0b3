"""Faults, what must come of each, and the tests that inject it. A test checks that those tests exist."""

from __future__ import annotations

from docs.fault import Fault
from docs.serving_faults import SERVING_FAULTS
from docs.worker_faults import WORKER_FAULTS

_CRASHES = "faults/test_crashes.py:"
_DATABASES = "faults/test_databases.py:"
_TAMPERING = "faults/test_tampering.py:"
_REFUSALS = "faults/test_refusals.py:"
_EXPECTATIONS = "adapters/test_great_expectations.py:"
_SAME = _CRASHES + "test_killed_there_the_same_work_again_comes_to_the_same"
_ORPHANS = "upkeep/test_orphans.py:test_what_a_killed_training_left_is_collected_after_a_day"
_FILES = _TAMPERING + "test_tampered_files_are_taken_by_mlflow_and_refused_by_us"

FAULTS = (
    Fault(
        "SIGKILL during ingest",
        "no partial batch is visible; run again completes it",
        (_CRASHES + "test_of_a_killed_ingest_no_part_is_visible", _SAME),
    ),
    Fault("SIGKILL during training", "MLflow's run is closed as KILLED at the next start; a retry works", (_SAME,)),
    Fault("SIGKILL during model upload", "that model cannot be registered", (_SAME, _ORPHANS)),
    Fault("SIGKILL after the model is logged", "the orphan is collected", (_ORPHANS,)),
    Fault(
        "an ONNX form that is torn, of another model, or cannot be checked",
        "never passes; it keeps a challenger out only if it is required",
        tuple(
            "stages/test_export.py:" + name
            for name in (
                "test_a_form_that_is_torn_fails",
                "test_a_form_of_another_model_fails_parity",
                "test_when_the_other_process_is_killed_nothing_passes_that_needs_it",
                "test_a_form_that_did_not_pass_is_in_the_way_only_if_it_is_required",
            )
        ),
    ),
    Fault("SIGKILL after register", "resumes without a second version", (_SAME,)),
    Fault("decision written, alias not yet set", "the next start sets the alias", (_SAME,)),
    Fault("alias set, not acknowledged", "setting it again changes nothing", (_SAME,)),
    Fault("SIGKILL during batch scoring", "exactly one prediction a key", (_SAME,)),
    Fault(
        "Prefect's server killed",
        "work resumes when it is back",
        ("faults/test_killed.py:test_a_run_goes_on_when_the_server_was_killed_meanwhile",),
    ),
    Fault(
        "worker and child killed",
        "the run is marked crashed within 2 minutes",
        ("faults/test_killed.py:test_dead_runs_are_marked_and_begun_again_and_their_slots_are_free",),
    ),
    Fault(
        "everything killed at once",
        "converges at restart",
        ("faults/test_killed.py:test_everything_killed_at_once_converges_when_it_is_started_again",),
    ),
    Fault(
        "a leaked concurrency slot",
        "freed",
        (
            "faults/test_killed.py:test_dead_runs_are_marked_and_begun_again_and_their_slots_are_free",
            "orchestration/test_recovery.py:test_slots_of_a_deployment_that_nobody_holds_are_taken_back",
        ),
    ),
    Fault(
        "two promoters at once",
        "one wins, the other is refused as stale",
        (_DATABASES + "test_of_two_promoters_one_wins_each_time_and_the_alias_follows",),
    ),
    Fault(
        "eight first runs on an empty home",
        "one healthy database",
        (_DATABASES + "test_eight_first_runs_on_an_empty_home_make_one_healthy_home",),
    ),
    Fault("SQLite locked for 30 s", "waits", (_DATABASES + "test_who_finds_the_databases_locked_waits",)),
    Fault(
        "disk full",
        "old champion stays, clear error, nothing half written",
        (_DATABASES + "test_a_full_disk_is_said_and_the_old_champion_stays",),
    ),
    Fault(
        "event raised while the server is down",
        "delivered once, later",
        ("loop/test_outbox.py:test_while_the_server_is_away_events_wait",),
    ),
    Fault(
        "the same event twice",
        "one retrain",
        (
            "faults/test_events.py:test_the_same_event_twice_is_one_retrain",
            "faults/test_machine.py:test_the_invariants_hold_after_any_step",
        ),
    ),
    Fault(
        "100 events in a burst",
        "one retrain a cooldown",
        ("loop/test_may_start.py:test_a_burst_of_requests_for_one_moment_gives_one_training",),
    ),
    Fault(
        "an event from the past or the future",
        "recorded, ignored",
        ("faults/test_events.py:test_events_from_another_time_are_recorded_and_start_nothing",),
    ),
    Fault(
        "the relation of inputs and labels changes before labels come",
        "the estimate is called off once they have, and later ones of the champion say so",
        ("stages/test_estimates.py:test_a_changed_relation_is_told_by_the_check_and_held_against_later_estimates",),
    ),
    Fault(
        "the predictions on the rows that judged the champion are gone",
        "no estimate, the result says why, nothing fails",
        (
            "stages/test_estimates.py:test_a_model_without_the_rows_that_judged_it_has_no_estimate_and_the_result_says_why",
        ),
    ),
    Fault(
        "retraining fails, or its challenger is rejected, again and again",
        "after k in a row it stops and alerts",
        (
            "faults/test_events.py:test_trainings_that_fail_again_and_again_stop_until_a_person_lets_them_go_on",
            "loop/test_may_start.py:test_after_too_many_rejections_it_stops_until_a_person_or_new_labels_let_it_go_on",
        ),
    ),
    Fault("tampered pickle in place of the model", "refused, no code runs", (_FILES,)),
    Fault("one bit flipped in the model", "refused", (_FILES, "adapters/test_mlflow_models.py:test_a_flipped_bit")),
    Fault("MLmodel edited, or a loader injected", "refused", (_FILES,)),
    Fault("extra, missing or linked file beside the model", "refused", (_FILES,)),
    Fault(
        "champion's version deleted",
        "it serves on from its checked files, alarm",
        (_TAMPERING + "test_of_a_deleted_version_the_champion_serves_on_and_it_is_said",),
    ),
    Fault(
        "alias moved behind the ledger's back",
        "noticed, not served",
        (_TAMPERING + "test_an_alias_moved_behind_the_ledgers_back_is_noticed_and_not_served",),
    ),
    Fault(
        "anchor file's last line torn",
        "repaired, nothing acknowledged lost",
        ("audit/test_verify.py:test_a_last_line_that_a_crash_has_torn_is_taken_off_and_nothing_is_lost",),
    ),
    Fault(
        "ledger edited, truncated, or rewritten",
        "`verify` fails and names the entry",
        (
            "ledger/test_ledger.py:test_an_edited_field_is_found_and_its_entry_named",
            "audit/test_verify.py:test_an_end_that_was_cut_off_is_found_by_the_anchors",
            "audit/test_verify.py:test_everything_rewritten_by_somebody_with_the_key_is_found_by_the_anchors",
        ),
    ),
    Fault(
        "empty batch",
        "“no data”, not “no drift”",
        (
            _EXPECTATIONS + "test_an_empty_batch_is_no_data",
            "unit/monitoring/test_drift.py:test_an_empty_batch_is_no_data_and_not_no_drift",
        ),
    ),
    Fault(
        "a column all NaN or null",
        "a feature is named and the batch is used; a key, a time, or a column with a declared limit fails",
        (
            _EXPECTATIONS + "test_a_feature_without_values_is_named_and_fails_only_where_a_limit_is_declared",
            "stages/test_unusual.py:test_a_feature_without_any_value_does_not_break_its_batch",
        ),
    ),
    Fault(
        "a column missing, twice, or extra",
        "fails; fails; by policy, said aloud",
        (
            _EXPECTATIONS + "test_a_missing_column_fails_once_and_nothing_is_asked_of_it",
            "unit/data/test_landing.py:test_a_column_twice_is_refused",
            _EXPECTATIONS + "test_extra_columns_are_said_aloud_or_fail",
        ),
    ),
    Fault(
        "mixed types, numbers as strings",
        "fails, or coerced by a declared rule and counted",
        (
            "unit/data/test_landing.py:test_columns_of_mixed_types_become_text_and_are_named",
            _EXPECTATIONS + "test_text_where_numbers_belong_fails_unless_it_was_coerced",
        ),
    ),
    Fault("infinite values", "fail, counted", (_EXPECTATIONS + "test_infinite_values_are_counted_and_set_aside",)),
    Fault(
        "constant column",
        "reported; unusual where it varied before",
        (
            _EXPECTATIONS + "test_a_constant_column_is_reported",
            "unit/monitoring/test_learned_bounds.py:test_clean_batches_are_rarely_unusual_and_planted_faults_are",
        ),
    ),
    Fault("1 to 29 rows", "inconclusive", (_EXPECTATIONS + "test_few_rows_are_inconclusive_whatever_they_hold",)),
    Fault("500 new categories", "drift", ("unit/monitoring/test_drift.py:test_new_categories_are_drift",)),
    Fault(
        "missing share from 0 to 50 %",
        "drift",
        ("unit/monitoring/test_drift.py:test_half_the_values_missing_is_drift",),
    ),
    Fault(
        "labels of one class only",
        "inconclusive",
        ("loop/test_late_batches.py:test_too_little_to_learn_from_is_held_with_its_reason",),
    ),
    Fault(
        "a metric is NaN or absent",
        "rejected",
        (
            _REFUSALS + "test_a_challenger_without_a_figure_is_refused",
            _REFUSALS + "test_a_challenger_that_leaves_a_row_out_is_refused",
        ),
    ),
    Fault(
        "no champion yet",
        "absolute and baseline gates only",
        (_REFUSALS + "test_the_first_champion_is_judged_by_absolute_and_baseline_gates_alone",),
    ),
    Fault(
        "gate rows overlap training rows of either judged model",
        "refused",
        (_REFUSALS + "test_gate_rows_that_a_judged_model_was_trained_on_are_refused",),
    ),
    Fault(
        "validations side by side in threads",
        "correct verdicts",
        (_EXPECTATIONS + "test_threads_side_by_side_get_their_own_verdicts",),
    ),
    Fault(
        "empty expectation suite",
        "refused when the config is loaded",
        ("unit/config/test_config.py:test_an_empty_suite_is_refused",),
    ),
    Fault(
        "clock jumps back",
        "order is by sequence, not by clock",
        (_REFUSALS + "test_when_the_clock_jumps_back_the_order_is_that_of_the_sequence",),
    ),
    Fault(
        "traversal or odd names in a model's or file's name",
        "refused",
        (
            "faults/test_names.py:test_only_a_config_of_the_folder_is_read",
            "faults/test_names.py:test_the_command_line_says_that_there_is_no_such_thing",
            "faults/test_names.py:test_the_reports_server_serves_nothing_else",
        ),
    ),
    Fault(
        "late, duplicate or corrected rows for a batch already landed",
        "a new revision; predictions and labels join the right one",
        (
            "loop/test_turn.py:test_a_correction_is_a_new_revision_and_first_predictions_stay",
            "loop/test_turn.py:test_corrected_labels_are_joined_to_the_predictions_that_were_made",
        ),
    ),
    Fault(
        "a real shift of a feature",
        "shifted, scored, diagnosed, retrained; never broken by what was learned before",
        (
            "stages/test_unusual.py:test_a_real_shift_of_a_feature_is_used_and_breaks_nothing",
            "unit/monitoring/test_learned_bounds.py:test_a_feature_that_shifts_is_not_unusual",
        ),
    ),
    Fault(
        "another unit, a stuck column, entities that are all new, rows that collapse",
        "unusual: announced and used; a retrain on it waits until it is confirmed or has lasted",
        (
            "unit/monitoring/test_learned_bounds.py:test_clean_batches_are_rarely_unusual_and_planted_faults_are",
            "stages/test_unusual.py:test_an_unusual_batch_is_used_and_alerts_and_holds_a_retrain_until_it_has_lasted",
            "stages/test_unusual.py:test_a_confirmed_batch_holds_nothing_and_becomes_usual",
        ),
    ),
    Fault(
        "a feature without any value in some batch, or from some batch on",
        "named, the batch is used; the next model does without it if it stays so",
        (
            "stages/test_unusual.py:test_a_feature_without_any_value_does_not_break_its_batch",
            "stages/test_unusual.py:test_a_feature_that_stays_without_values_is_left_out_of_the_next_model",
        ),
    ),
    Fault(
        "a broken batch among sound ones",
        "the others are used, and a first champion is trained",
        ("stages/test_unusual.py:test_a_broken_batch_keeps_no_first_champion_from_being_trained",),
    ),
    Fault(
        "a bundle of an edge device changed, of another home, or with another graph",
        "`ledger verify --bundle` names it, also if the key signed it again",
        (
            "export/test_verify_bundle.py:test_a_flipped_bit_is_found",
            "export/test_verify_bundle.py:test_what_the_ledger_does_not_say_is_found_although_the_key_signed_it",
            "export/test_verify_bundle.py:test_another_graph_is_found_although_the_key_signed_it",
        ),
    ),
    Fault(
        "a spool handed back twice, torn, or with flipped bits",
        "each row keeps the first prediction served; every line is counted",
        (
            "export/test_handed_back.py:test_handing_the_same_back_again_changes_nothing",
            "export/test_handed_back.py:test_a_torn_line_and_a_flipped_bit_cost_their_own_records_only",
        ),
    ),
    *SERVING_FAULTS,
    *WORKER_FAULTS,
)


def faults_page() -> str:
    """The page of injected faults and their required outcomes."""
    lines = [
        "# Faults",
        "",
        "Generated from `docs/faults.py` by `make docs`. Tests inject each of these faults into a real home: they kill processes at",
        "the points that `trueup/crash.py` names, fill disks, and change files and databases with write access to",
        "them. After each, at most one version is champion; it loads, and its files match the digest in the ledger; nothing",
        "that was acknowledged is lost; and the same command again has the same result.",
        "`tests/faults/test_machine.py` injects them in random order; `FAULT_EXAMPLES=50 FAULT_STEPS=30` runs more.",
        "",
        "| # | fault | required outcome | tests, in `tests/` |",
        "|---|---|---|---|",
    ]
    for number, fault in enumerate(FAULTS, 1):
        tests = "<br>".join(f"`{test.split(':')[0]}`: {test.split(':')[1]}" for test in fault.tests)
        lines.append(f"| {number} | {fault.what} | {fault.outcome} | {tests or 'not done'} |")
    return "\n".join(lines) + "\n"
