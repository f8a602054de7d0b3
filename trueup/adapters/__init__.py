"""Adapters, one file or folder per vendor, with domain types at the edge."""
