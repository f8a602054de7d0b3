"""SQL databases: engines, locks, and copies."""
