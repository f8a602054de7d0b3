"""Figures of the whole loop for Prometheus, read from ledger and store at each scrape. See `text.text`."""
