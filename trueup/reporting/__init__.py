"""Pages and figures for people, and the jobs that render them."""
