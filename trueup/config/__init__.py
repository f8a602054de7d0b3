"""The configuration: schema, loading, and settings from the environment."""
