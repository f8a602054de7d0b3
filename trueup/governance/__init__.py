"""Decisions by people and over time: approval, rollback, probation, quarantine, and the record of each."""
