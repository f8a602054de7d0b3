"""What loads the published models of a server, and keeps them current."""
