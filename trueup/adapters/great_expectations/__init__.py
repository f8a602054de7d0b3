"""Great Expectations: the checks of a batch, the engine that runs them, and the verdict."""
