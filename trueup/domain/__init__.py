"""Pure rules: pandas, numpy and scikit-learn; no I/O, no clock, no global randomness."""
