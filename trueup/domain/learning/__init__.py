"""Model families, training windows, and splits in time order."""
