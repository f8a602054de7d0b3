"""The report as GitHub and GitLab take it."""
