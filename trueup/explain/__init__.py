"""Explains one prediction: its row, its features, what each of them contributed, and rows that were like it."""
