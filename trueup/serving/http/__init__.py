"""What the server says over HTTP: routes, rows in and answers out, errors, its description and its page."""
