"""Losses, intervals, evidence, and the gates that decide on a challenger."""
