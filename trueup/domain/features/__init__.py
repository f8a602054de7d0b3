"""What a model sees of each row."""
