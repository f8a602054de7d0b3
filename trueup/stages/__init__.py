"""The stages of the loop, one plain function each."""
