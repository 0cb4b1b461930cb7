"""Methods that recipes are made of."""
