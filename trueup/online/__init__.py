"""The loop's side of serving: publishes what servers load, and takes in what they answered."""
