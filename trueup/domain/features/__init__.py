"""The inputs of a model for each row."""
