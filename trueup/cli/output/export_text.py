"""Prints what the commands for edge devices return."""

from __future__ import annotations

from typing import TYPE_CHECKING

from humanize import naturalsize

from trueup.cli.output import lines, out, say, then

if TYPE_CHECKING:
    from trueup.export.bundle import Exported
    from trueup.export.handed_back import HandedBack
    from trueup.export.trust import Anchored


def exported(done: Exported) -> None:
    """Print the place of a bundle, and what it was compared on."""
    out.print(
        f"[bold]{done.model}[/] version {done.version}, epoch {done.epoch}: {done.inputs} inputs, model.onnx "
        f"{naturalsize(done.bytes, binary=True)}, predicts like the version on {done.rows:,} rows (largest difference "
        f"{done.largest:.1g})",
        highlight=False,
        soft_wrap=True,
    )
    for place in (done.folder, done.archive):
        if place is not None:
            say(f"  {place}")
    say(f"  signed with {done.key_id}; expires {done.expires:%Y-%m-%d %H:%M} UTC")
    if done.derived:
        say(f"  inputs that the caller computes, as the manifest defines them: {', '.join(done.derived)}")
    then(f"trueup export-trust {done.model} --to trust.json, once for each device")


_LEFT_OUT = {
    "equal": "stored already",
    "different": "of rows with another prediction already, which counts",
    "other_model": "of another model",
    "never_served": "of a version that never served",
    "before": "of rows from before the end of the version's training",
    "unreadable": "with a key, a time or a prediction that this model does not have",
    "retired": "of batches whose predictions were removed by retention",
}


def handed_back(done: HandedBack) -> None:
    """Print what became of records from devices."""
    out.print(f"[bold]{done.model}[/]: {done.records:,} records, {done.new:,} new", highlight=False)
    if done.unmatched:
        say(
            f"    {done.unmatched:,} of the new ones are of rows that their landed batch does not have: rows that come late, or keys "
            "that the devices write in another way than the source"
        )
    lines([f"{count:,} {words}" for name, words in _LEFT_OUT.items() if (count := getattr(done, name))])
    if done.never:
        say(f"    that is {', '.join(done.never)}")
    if done.broken:
        say(f"    {done.broken:,} lines are no records; the rest of the file was read")
    if done.lost:
        say(f"    {done.lost:,} records were dropped by the devices for lack of room; hand back more often")
    if done.batches:
        say(f"  batches: {', '.join(done.batches)}")


def anchored(written: Anchored) -> None:
    """Print the place of a trust anchor, and its keys."""
    out.print(f"[bold]{written.model}[/] trust anchor {written.number}: {', '.join(written.keys)}", highlight=False)
    say(f"  {written.file}")
    then(f"install it on the devices; trueup export {written.model} --to FOLDER makes a bundle")
