"""Models that move between environments: sent as signed bundles, received, judged again, and acknowledged."""
