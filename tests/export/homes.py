"""A small home with a champion, made once for the tests of a module."""

from __future__ import annotations

from pathlib import Path

from tests.story import CONFIG, Story, stream

# A feature of each kind, and a custom function beside the config; whatever the challenger is worth, it is promoted.
EVERY_KIND = CONFIG.replace("  history:\n", "  calendar: {t: [hour, weekend]}\n  custom: shop:together\n  history:\n")
EVERY_KIND = EVERY_KIND.replace("  min_new_days: 6\n", "  min_new_days: 6\n  gates: []\n")
EVERY_KIND += "export: {units: {x: mm}}\n"
CUSTOM = """
def together(rows):
    return (rows["x"] + rows["z"]).to_frame("total")
"""
TRAINED_IN = 6  # weeks
JUDGED, CHAMPION = 1, 2  # versions: as it was judged, and refitted


def formless(story: Story) -> Story:
    """The story as if its versions had been registered before `export` was in the config."""
    story.home.registry.onnx = lambda *_: None
    return story


def grown(folder: Path, config: str = EVERY_KIND, weeks: int = 8, code: str = CUSTOM) -> Story:
    """A home with a champion after `TRAINED_IN` weeks; the source has `weeks`."""
    told = Story(folder, stream(weeks * 7, per_day=40), config)
    (told.configs / "shop.py").write_text(code)
    assert told.turn(TRAINED_IN).decided.outcome == "promoted"
    return told
