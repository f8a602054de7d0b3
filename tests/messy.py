"""Messy tables, each with one planted fault, as people have them; seeded, so that they are the same each time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

START = datetime(2024, 1, 1)  # a Monday
PER_DAY = 40


@dataclass(frozen=True)
class Messy:
    """A table with a planted fault, and what a person would say of it."""

    fault: str
    frame: pd.DataFrame
    outcomes: pd.DataFrame | None = None
    said: dict[str, str] = field(default_factory=dict)  # beside data, time and label

    def write(self, folder: Path) -> Path:
        """Write the table, and the outcomes beside it where they are a file of their own; give the table's path."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.fault}.csv"
        self.frame.to_csv(path, index=False)
        if self.outcomes is not None:
            self.outcomes.to_csv(self.outcomes_path(folder), index=False)
        return path

    def outcomes_path(self, folder: Path) -> Path:
        """Where the outcomes of a second file lie."""
        return folder / f"{self.fault}_outcomes.csv"


def orders(days: int = 56, per_day: int = PER_DAY, seed: int = 1) -> pd.DataFrame:
    """A table with nothing wrong: orders, of which some come late. Columns order, ordered, amount, km, items, city, late."""
    rng = np.random.default_rng(seed)
    n = days * per_day
    seconds = np.sort(rng.integers(0, days * 86_400, n))
    amount = np.round(rng.gamma(4.0, 10.0, n), 2)
    km = np.round(rng.gamma(2.0, 8.0, n), 1)
    items = rng.integers(1, 9, n)
    city = rng.choice(["Bern", "Graz", "Lyon", "Turin"], n, p=[0.4, 0.3, 0.2, 0.1])
    odds = 0.1 * (km - 16) + 2.0 * np.sign((km - 14) * (items - 4.5)) + np.where(city == "Bern", 0.8, -0.4)
    late = rng.random(n) < 1 / (1 + np.exp(-odds))
    return pd.DataFrame(
        {
            "order": [f"o{i:06d}" for i in rng.permutation(n)],
            "ordered": [START + timedelta(seconds=int(s)) for s in seconds],
            "amount": amount,
            "km": km,
            "items": items,
            "city": city,
            "late": np.where(late, "yes", "no"),
        }
    )


def leak(seed: int = 1) -> Messy:
    """A column that is filled after the event, and a copy of the outcome in other words and with a few slips."""
    frame, rng = orders(seed=seed), np.random.default_rng(seed + 100)
    is_late = (frame["late"] == "yes").to_numpy()
    hours = np.round(np.where(is_late, rng.uniform(1, 60, len(frame)), -rng.uniform(0, 20, len(frame))), 1)
    told = np.where(is_late ^ (rng.random(len(frame)) < 0.002), "sorry", "thanks")
    return Messy("leak", frame.assign(hours_over=hours, mail_sent=told))


def sentinels(seed: int = 1) -> Messy:
    """What is missing is -200, 999, "?", "NULL" or "unknown", by column."""
    frame, rng = orders(seed=seed), np.random.default_rng(seed + 100)

    def some(share: float) -> np.ndarray:
        return rng.random(len(frame)) < share

    stock = pd.Series(rng.integers(0, 60, len(frame)).astype(str))
    return Messy(
        "sentinels",
        frame.assign(
            km=frame["km"].mask(some(0.04), -200),
            items=frame["items"].mask(some(0.03), 999),
            amount=frame["amount"].astype(str).mask(some(0.03), "?"),
            city=frame["city"].mask(some(0.05), "NULL"),
            stock=stock.mask(some(0.05), "unknown"),
        ),
    )


def mixed_dates(seed: int = 1) -> Messy:
    """From the fifth week on, days come first, as from another program."""
    frame = orders(seed=seed)
    late = frame["ordered"] >= START + timedelta(weeks=4)
    iso, other = frame["ordered"].dt.strftime("%Y-%m-%d %H:%M:%S"), frame["ordered"].dt.strftime("%d/%m/%Y %H:%M:%S")
    return Messy("mixed_dates", frame.assign(ordered=iso.mask(late, other)))


def duplicates(seed: int = 1) -> Messy:
    """Some rows stand there twice; others come again with a correction, under the same order."""
    frame, rng = orders(seed=seed), np.random.default_rng(seed + 100)
    same = frame.sample(80, random_state=seed)
    corrected = frame.sample(60, random_state=seed + 1)
    corrected = corrected.assign(amount=np.round(corrected["amount"] + rng.uniform(1, 5, len(corrected)), 2))
    both = pd.concat([frame, same, corrected], ignore_index=True)
    return Messy("duplicates", both.sort_values("ordered", kind="stable", ignore_index=True))


def label_delay(seed: int = 1) -> Messy:
    """Nobody knows yet what became of the newest five days."""
    frame = orders(seed=seed)
    return Messy("label_delay", frame.assign(late=frame["late"].mask(frame["ordered"] >= START + timedelta(days=51))))


def outcomes_apart(seed: int = 1) -> Messy:
    """The outcomes come in a second file, under another name of the key, each three days after its order."""
    frame = orders(seed=seed)
    after = pd.DataFrame({"order_no": frame["order"], "late": frame["late"]})
    after["told"] = frame["ordered"] + timedelta(days=3)
    known = after[after["told"] < START + timedelta(days=56)].sample(frac=1, random_state=seed, ignore_index=True)
    return Messy("outcomes_apart", frame.drop(columns="late"), known)


def categories(seed: int = 1) -> Messy:
    """Customers: thousands, few of whom come again, and new ones all the time. Some shops are always worse."""
    frame, rng = orders(seed=seed), np.random.default_rng(seed + 100)
    n = len(frame)
    newest = (np.arange(n) * 0.8).astype(int)
    customer = np.where(rng.random(n) < 0.75, newest, rng.integers(0, newest + 1))
    shop = rng.integers(0, 60, n)
    return Messy("categories", frame.assign(customer=[f"c{c}" for c in customer], shop=[f"s{s}" for s in shop]))


def gap(seed: int = 1) -> Messy:
    """Four weeks of a longer table are not there."""
    frame = orders(days=84, seed=seed)
    absent = frame["ordered"].between(START + timedelta(weeks=4), START + timedelta(weeks=8))
    return Messy("gap", frame[~absent].reset_index(drop=True))


FAULTS: dict[str, Callable[[], Messy]] = {
    made.__name__: made
    for made in (leak, sentinels, mixed_dates, duplicates, label_delay, outcomes_apart, categories, gap)
}
