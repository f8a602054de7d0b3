"""Who hears of the stages of a turn: seconds, lineage and traces."""
