"""Examples for the end of every command's `--help`. Tests parse each line like the program."""

from __future__ import annotations

from collections.abc import Iterator

import typer
from typer.models import CommandInfo, TyperInfo

_MODEL = "flight_delays"

EXAMPLES: dict[str, tuple[str, ...]] = {
    "": ("trueup check", f"trueup run {_MODEL}", "trueup status"),
    "init": (
        "trueup init my-project",
        "trueup init shop --from orders.csv --time ordered_at --label late --deploy docker",
        "trueup init demo --example flights",
    ),
    "deploy": ("trueup deploy", f"trueup deploy --smoke {_MODEL}"),
    "upgrade": ("trueup upgrade", "trueup upgrade --json"),
    "schema": ("trueup schema", "trueup schema environment", "trueup schema --write"),
    "new": (
        "trueup new churn --data people.csv --time month --label churned --label-available-after '30 days'",
        "trueup new loans --data loans.csv --time issued --label defaulted --labels outcomes.csv",
        "trueup new late --data sqlite:///shop.db --query 'SELECT * FROM orders' --time ordered --label late",
    ),
    "run": (
        f"trueup run {_MODEL}",
        f"trueup run {_MODEL} --as-of 2013-04-01",
        f"trueup run {_MODEL} --retrain never --json",
        "trueup run --all --tag nightly --workers 4",
    ),
    "retrain": (f"trueup retrain {_MODEL}", f"trueup retrain {_MODEL} --as-of 2013-04-01 --reason stale --by Ada"),
    "score": (f"trueup score {_MODEL}", f"trueup score {_MODEL} --as-of 2013-04-01"),
    "monitor": (f"trueup monitor {_MODEL}", f"trueup monitor {_MODEL} --as-of 2013-04-01 --json"),
    "status": ("trueup status", f"trueup status {_MODEL} --at 2013-06-15"),
    "clear": (f"trueup clear {_MODEL} --by Ada",),
    "check": ("trueup check", f"trueup check {_MODEL}", f"trueup check {_MODEL} --rehearse"),
    "contract": (f"trueup contract write {_MODEL}",),
    "contract write": (
        f"trueup contract write {_MODEL}",
        f"trueup contract write {_MODEL} --out configs/{_MODEL}.odcs.yaml",
    ),
    "contract check": (f"trueup contract check {_MODEL} configs/{_MODEL}.odcs.yaml",),
    "feed": (f"trueup feed {_MODEL}", f"trueup feed {_MODEL} --next --from configs"),
    "demo": ("trueup demo", "trueup demo --to 2013-05"),
    "reconcile": ("trueup reconcile", f"trueup reconcile {_MODEL} --json"),
    "approve": ("trueup approve 12 --by Ada", "trueup approve 12 --by Ada --why 'looked at the slices'"),
    "reject": ("trueup reject 12 --by Ada --why 'worse at JFK'",),
    "rollback": (
        f"trueup rollback {_MODEL} --by Ada --why 'complaints since Monday'",
        f"trueup rollback {_MODEL} --to 2 --by Ada --why 'the last good one'",
    ),
    "promote": (f"trueup promote {_MODEL} 3 --by Ada --why 'agreed with the airline'",),
    "dossier": (f"trueup dossier {_MODEL}", f"trueup dossier {_MODEL} 2 --out dossiers"),
    "explain": (
        f"trueup explain {_MODEL} time_hour=2013-09-01T09:00,carrier=UA,flight=1545",
        f"trueup explain {_MODEL} carrier=UA,flight=1545 --batch 2013-09-01",
        f"trueup explain {_MODEL} row_id=901747193206898838 --version 11 --json",
    ),
    "export": (
        f"trueup export {_MODEL} --to bundle",
        f"trueup export {_MODEL} 2 --to bundle --zip --expires '30 days'",
    ),
    "send": (f"trueup send {_MODEL} --to champion.zip", f"trueup send {_MODEL} 2 --to champion.zip"),
    "receive": ("trueup receive champion.zip", f"trueup receive champion.zip --model {_MODEL} --by Ada"),
    "ingest-predictions": (f"trueup ingest-predictions {_MODEL} spool.jsonl",),
    "export-trust": (
        f"trueup export-trust {_MODEL} --to trust.json",
        f"trueup export-trust {_MODEL} --to trust.json --also NEXT_PUBLIC_KEY",
    ),
    "ui": ("trueup ui", "trueup ui --port 8400"),
    "serve": (
        "trueup serve",
        f"trueup serve {_MODEL} --port 8200 --workers 2",
        f"trueup serve {_MODEL} --host 10.0.0.5 --tls-cert server.crt --tls-key server.key",
    ),
    "gc": ("trueup gc --dry-run", f"trueup gc {_MODEL}"),
    "forget": ("trueup forget late_orders --key order_id=1017 --by 'A. Smith' --why 'request 17 of May'",),
    "backup": ("trueup backup /backups/today",),
    "restore": ("trueup restore /backups/today",),
    "move": ("trueup move --to /srv/trueup", "trueup move --reopen"),
    "reproduce": (f"trueup reproduce {_MODEL} 2",),
    "audit": ("trueup audit", "trueup audit --markdown audit.md --json"),
    "replay": (
        f"trueup replay {_MODEL}",
        f"trueup replay {_MODEL} --policy frozen --policy 'every 1 month' --workers 2",
        f"trueup replay {_MODEL} --from 2013-01-01 --to 2013-07-01 --write",
    ),
    "ci": ("trueup ci compare --base main", f"trueup ci sample {_MODEL}"),
    "ci compare": (
        "trueup ci compare",
        f"trueup ci compare --base main --head 3f2c1ab --model {_MODEL} --no-tests --json",
    ),
    "ci post": ("trueup ci post ci-report/comment.md", "trueup ci post audit.md --as issue --outcome failure"),
    "ci sample": (
        f"trueup ci sample {_MODEL} --rows 20000",
        f"trueup ci sample {_MODEL} --out configs/samples/flights.csv",
    ),
    "rollout": (f"trueup rollout status {_MODEL}",),
    "rollout status": (f"trueup rollout status {_MODEL}", f"trueup rollout status {_MODEL} --json"),
    "rollout check": (f"trueup rollout check {_MODEL}",),
    "rollout pause": (f"trueup rollout pause {_MODEL} --by Ada --why 'release freeze'",),
    "rollout resume": (f"trueup rollout resume {_MODEL} --by Ada --why 'the freeze is over'",),
    "rollout advance": (f"trueup rollout advance {_MODEL} --by Ada --why 'load test passed'",),
    "rollout abort": (f"trueup rollout abort {_MODEL} --by Ada --why 'wrong labels in May'",),
    "token": ("trueup token add shop --scope record", "trueup token list"),
    "token add": (
        "trueup token add dashboard",
        "trueup token add shop --scope record --rate 50 --expires '90 days'",
    ),
    "token list": ("trueup token list", "trueup token list --json"),
    "token revoke": ("trueup token revoke shop",),
    "ledger": ("trueup ledger show", "trueup ledger verify"),
    "ledger show": ("trueup ledger show", f"trueup ledger show {_MODEL} --last 5"),
    "ledger verify": ("trueup ledger verify", "trueup ledger verify --bundle bundle.zip --json"),
    "ledger key": ("trueup ledger key", "trueup ledger key --json"),
    "ledger receipt": ("trueup ledger receipt champion.zip.receipt.json",),
    "ledger export": ("trueup ledger export decisions.csv", f"trueup ledger export all.jsonl --model {_MODEL}"),
    "quarantine": (f"trueup quarantine list {_MODEL}",),
    "quarantine list": (f"trueup quarantine list {_MODEL}",),
    "quarantine release": (
        f"trueup quarantine release {_MODEL} --by Ada --why 'the sensor was right'",
        f"trueup quarantine release {_MODEL} --row 81 --row 95 --by Ada --why 'checked by hand'",
    ),
    "up": ("trueup up", "trueup up --detach --wait 300"),
    "down": ("trueup down",),
    "stack": ("trueup stack status",),
    "stack status": ("trueup stack status", "trueup stack status --json"),
}


def attach(app: typer.Typer) -> None:
    """Append the examples to the help of each command."""
    for words, info in [("", app.info), *_named(app, "")]:
        if words in EXAMPLES:
            info.epilog = _epilog(EXAMPLES[words])


def _named(app: typer.Typer, before: str) -> Iterator[tuple[str, CommandInfo | TyperInfo]]:
    """Every command and group, with the words that name it."""
    for command in app.registered_commands:
        name = command.name or getattr(command.callback, "__name__", "")
        yield f"{before} {name}".strip(), command
    for group in app.registered_groups:
        words = f"{before} {group.name or ''}".strip()
        if group.name:
            yield words, group
        if group.typer_instance is not None:
            yield from _named(group.typer_instance, words)


def _epilog(lines: tuple[str, ...]) -> str:
    return "\b\n" + "\n".join(["Examples:", *(f"  {line}" for line in lines)])  # \b: do not rewrap the lines
