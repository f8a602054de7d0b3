"""A project of the user's own: `trueup init` writes it from templates, `trueup upgrade` compares it with newer ones."""
