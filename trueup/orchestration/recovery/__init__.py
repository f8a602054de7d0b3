"""Recovery of flow runs that died, were interrupted, or were superseded."""
