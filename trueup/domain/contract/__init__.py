"""A data contract of a model's rows: written from its config, and compared with it."""
