"""Data contracts of the Open Data Contract Standard (ODCS), version 3: what a config reads of one."""
