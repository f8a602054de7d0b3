"""Maintenance of a home: backup, retention, moved databases, simulated arrivals."""
