"""Profiling of an undescribed table: kinds of columns, times, leak suspects, personal data, and what is usual."""
