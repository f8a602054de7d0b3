"""One vendor a file, with domain types at the edge."""
