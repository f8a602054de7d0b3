"""Four eyes: with `promote.approval.four_eyes` nobody approves their own request.

Names are not proved, so at a command line the account counts as a name, too: a request without a name is the account's,
and cannot be approved from that account under another name.
"""

from __future__ import annotations

from trueup.config.schema import ModelConfig
from trueup.errors import UsageError
from trueup.governance.decision_record import REQUEST
from trueup.ledger.entries import Entry
from trueup.ledger.record import FourEyes
from trueup.model import Model


def asker(entry: Entry) -> str | None:
    """The name of the person who requested a retrain; None if no person did. Raises LookupError without a name."""
    body = entry.body
    if body.trigger is None or body.trigger.kind != REQUEST:
        return None
    if body.actor is None or not body.actor.name:
        raise LookupError("the request has no name")
    return body.actor.name


def require_another(model: Model, entry: Entry, by: str) -> FourEyes:
    """The person who requested it, and whether `by` is another. Raises UsageError if the config demands another."""
    try:
        asked_by, unknown = asker(entry), None
    except LookupError as error:
        asked_by, unknown = None, str(error)
    actor = model.home.actor
    names = {_one(by), _one(actor.account)} if actor.via == "command line" else {_one(by)}
    same = asked_by is not None and _one(asked_by) in names
    if model.config.promote.approval.four_eyes and (same or unknown):
        who = f"{asked_by} requested this retrain" if unknown is None else f"it is unknown who requested it: {unknown}"
        mend = (
            "someone else must decide"
            if unknown is None
            else "let it expire, and request it again with `trueup retrain --by NAME`"
        )
        raise UsageError(
            f"{model.config.model}: version {entry.body.version} needs a second pair of eyes "
            f"(`promote.approval.four_eyes`), and {who}; nothing was changed; {mend}"
        )
    return FourEyes(
        demanded=model.config.promote.approval.four_eyes,
        asked_by=asked_by,
        differ=None if unknown else not same,
    )


def require_two(config: ModelConfig, version: int, by: str, asked_by: str) -> FourEyes:
    """The same for an override: with four eyes it needs the person who requests it. Raises UsageError."""
    demanded = config.promote.approval.four_eyes
    same = bool(asked_by) and _one(asked_by) in {_one(by)}
    if demanded and (same or not asked_by):
        raise UsageError(
            f"{config.model}: an override needs two persons (`promote.approval.four_eyes`); nothing was changed; name "
            f"a person other than {by} who requested it: trueup promote {config.model} {version} --by {by!r} --asked-by NAME"
        )
    return FourEyes(demanded=demanded, asked_by=asked_by or None, differ=not same if asked_by else None)


def _one(name: str) -> str:
    """A name as it is compared: `Ann  Smith` and `ann smith` are one person."""
    return " ".join(name.split()).casefold()
