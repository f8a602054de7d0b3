"""Data as it arrives: landing, labels, keys, types, times and periods."""
