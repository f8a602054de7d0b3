"""What a table that nobody has described yet holds: kinds of columns, times, suspects of leaks, people, and what is usual."""
