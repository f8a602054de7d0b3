"""`trueup ui`: the live page of a home. It reads the ledger and the store, and writes nothing."""
