"""Proof afterwards: verify the ledger, reproduce a version, export, and the dossier."""
