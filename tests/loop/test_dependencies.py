"""Packages and source columns that change from batch to batch: an event, and a notice for people."""

from tests.story import PLAIN, Story, stream
from trueup.adapters.git import packages
from trueup.domain.data.dependencies import Dependencies, changes
from trueup.loop import announce
from trueup.loop.notices import notify

TOPIC = "trueup.dependencies.changed"


class Ada:
    """A person who keeps what she is told."""

    digest = "ada"

    def __init__(self):
        self.told = []

    def send(self, _title, text):
        self.told.append(text)


def test_a_new_column_and_another_package_are_told_once(tmp_path, monkeypatch):
    frame = stream(4 * 7, per_day=40)
    told = Story(tmp_path, frame[frame["t"] < "2024-01-08"], PLAIN)
    told.turn(1)
    assert told.home.ledger.announced("toy", TOPIC) == [], "nothing is known of the time before"
    told.source(frame[frame["t"] < "2024-01-15"].assign(discount=0.5))
    monkeypatch.setattr(announce, "packages", lambda: {**packages(), "numpy": "9.9.9"})
    told.turn(2)
    told.turn(2)
    told.source(frame.assign(discount=0.5))
    told.turn(3)
    (event,) = told.home.ledger.announced("toy", TOPIC)
    assert event.payload["reasons"] == [
        f"packages: numpy {packages()['numpy']} is now 9.9.9",
        "columns of the source: discount is new",
    ]
    assert event.payload["batch"].startswith("2024-01-08")
    ada = Ada()
    notify(told.home, [ada])
    assert "toy has other packages or source columns than before (batch 2024-01-08" in ada.told[0]
    told.source(frame)
    told.turn(4)
    assert told.home.ledger.announced("toy", TOPIC)[1].payload["reasons"] == ["columns of the source: discount is gone"]


def test_the_first_five_changes_of_a_kind_are_named():
    now = Dependencies({f"p{i}": "1" for i in range(7)}, {"x": "int64"})
    assert changes(Dependencies({}, {"x": "double"}), now) == [
        "packages: p0 1 is new, p1 1 is new, p2 1 is new, p3 1 is new, p4 1 is new, and 2 more",
        "columns of the source: x double is now int64",
    ]


def test_a_column_that_the_config_begins_to_use_is_no_change():
    assert changes(Dependencies({}, {"x": ""}), Dependencies({}, {"x": "double"})) == []


def test_the_packages_are_those_that_run():
    import numpy as np

    assert packages()["numpy"] == np.__version__
    assert packages()["python"].startswith("3.")
