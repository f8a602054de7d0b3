"""Prefect: the only package of the library that imports it."""
