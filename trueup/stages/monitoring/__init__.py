"""The stage that monitors a batch: inputs, served features, performance, and what is unusual."""
