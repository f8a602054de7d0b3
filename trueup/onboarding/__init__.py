"""A new model: from a table to a config, its check, and its rehearsal."""
