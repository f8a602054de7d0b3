"""Every decision, hash-chained, with an outbox in the same transaction."""
