"""How sure models are, and whether they know."""
