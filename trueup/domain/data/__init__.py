"""Landing of data: labels, keys, types, times and periods."""
