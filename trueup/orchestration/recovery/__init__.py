"""Flow runs that died, were interrupted, or were superseded."""
