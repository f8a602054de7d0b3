"""Faults of `trueup serve`, its log, its history features and rollouts; see `docs.faults`."""

from __future__ import annotations

from docs.fault import Fault

_SERVING = "serving/"
_ONLINE = "online/"

SERVING_FAULTS = (
    Fault(
        "API: bad JSON, NaN, huge body, unknown field",
        "4xx, bounded, never 500",
        (
            _SERVING + "test_fuzz.py:test_any_body_gets_an_answer_or_a_problem",
            _SERVING + "test_fuzz.py:test_many_mistakes_take_little_time",
            _SERVING + "test_fuzz.py:test_memory_does_not_grow",
            _SERVING + "test_fuzz.py:test_broken_http_does_not_disturb_the_server",
            _SERVING + "test_openapi_requests.py:test_the_server_does_what_its_openapi_says",
        ),
    ),
    Fault(
        "champion swapped during requests",
        "each answer names the one version that made it; `benchmarks.serving` swaps ten times a second",
        (_SERVING + "test_watch.py:test_a_decision_in_the_ledger_is_published_and_swapped_in",),
    ),
    Fault(
        "registry or ledger down when serving restarts",
        "what was verified last serves, and says how old it is",
        (_SERVING + "test_watch.py:test_without_its_ledger_a_server_starts_and_says_how_old_it_is",),
    ),
    Fault(
        "serving: the new version's files are torn, edited or of another digest",
        "refused; the old one goes on; metric, event, alert",
        (
            _SERVING + "test_watch.py:test_a_torn_state_leaves_the_old_one_serving_and_is_announced_and_mended",
            _SERVING + "test_watch.py:test_a_bundle_with_a_flipped_bit_is_not_served",
        ),
    ),
    Fault(
        "a server killed under load, its prediction log torn or damaged",
        "no acknowledged prediction is lost; what is torn or damaged is dropped and counted",
        (
            _SERVING + "test_prediction_log.py:test_a_killed_process_has_logged_all_that_it_acknowledged",
            _SERVING + "test_prediction_log.py:test_a_torn_tail_and_a_damaged_record_lose_nothing_else",
            _ONLINE + "test_drain.py:test_of_every_record_that_does_not_count_it_is_said_why",
        ),
    ),
    Fault(
        "the disk full for the prediction log, or the log at its limit",
        "by config: requests of record are refused, or answered and counted; files stay whole, and it goes on by itself",
        (
            _SERVING + "test_prediction_log.py:test_a_full_disk_refuses_and_leaves_whole_files",
            _SERVING + "test_prediction_log.py:test_files_are_begun_anew_and_bounded_together",
            _SERVING + "test_app.py:test_a_full_log_refuses_what_is_of_record_and_answers_the_rest",
        ),
    ),
    Fault(
        "a drain of the prediction log killed before it is noted",
        "each prediction is stored once",
        (_ONLINE + "test_drain.py:test_a_drain_that_is_killed_before_it_is_noted_stores_nothing_twice",),
    ),
    Fault(
        "features of requests that differ from those of their batch",
        "counted; beyond `serve.max_skew` found and announced",
        (_ONLINE + "test_skew.py:test_served_features_that_differ_are_a_finding_with_its_event_and_figures",),
    ),
    Fault(
        "online history: labels that come late, twice, or corrected, and files that are damaged",
        "right after the next publication, to the bit of the features that the loop computes",
        (
            _ONLINE + "test_history.py:test_late_and_corrected_labels_make_a_new_snapshot",
            _ONLINE + "test_history.py:test_a_landing_adds_a_journal_and_another_publication_nothing",
            _ONLINE + "test_history.py:test_a_damaged_file_is_replaced_by_a_new_snapshot",
            _ONLINE + "test_history_values.py:test_online_and_offline_are_the_same_bits",
        ),
    ),
    Fault(
        "a rollout without traffic, or with too little",
        "waits until its deadline and never advances; the champion stays",
        (_ONLINE + "test_rollout.py:test_without_traffic_it_waits_until_the_deadline_and_the_champion_stays",),
    ),
    Fault(
        "a challenger in a rollout that raises, gives NaN, is slow, shifts its predictions, or loses on matured labels",
        "rolled back for that reason, also while paused; every request is answered",
        (
            _ONLINE + "test_rollout.py:test_a_faulty_challenger_is_rolled_back_by_the_right_rule_also_while_paused",
            _ONLINE + "test_rollout.py:test_a_worse_loss_on_matured_labels_rolls_back",
            _ONLINE
            + "test_rollout_served.py:test_a_fault_in_the_graph_of_the_challenger_rolls_it_back_and_every_request_is_answered",
            _SERVING + "test_two_versions.py:test_where_the_challenger_fails_the_champion_answers",
            _SERVING + "test_two_versions.py:test_a_challenger_that_hangs_holds_up_nobody",
        ),
    ),
    Fault(
        "two decisions about a rollout at once, or a champion that changes meanwhile",
        "one counts, the other is refused; a rollout beside a replaced champion ends as stale",
        (
            _ONLINE + "test_rollout.py:test_of_two_decisions_at_once_one_counts",
            _ONLINE + "test_rollout.py:test_a_champion_that_changes_between_the_look_and_the_record_ends_it",
        ),
    ),
    Fault(
        "counts of a server's rollout that are torn",
        "named; the rollout does not advance without them",
        (_ONLINE + "test_rollout.py:test_counts_that_cannot_be_read_never_advance",),
    ),
    Fault(
        "the published state or a bundle is damaged when a server starts",
        "its copy answers, also without registry and ledger; the next publication repairs it",
        (
            _SERVING + "test_watch.py:test_a_damaged_bundle_is_answered_by_its_copy_until_it_is_repaired",
            _SERVING + "test_watch.py:test_a_torn_state_at_the_start_is_answered_by_its_copy",
            _ONLINE + "test_publish.py:test_a_copy_repairs_its_bundle_and_a_damaged_copy_is_made_anew",
        ),
    ),
)
