"""How far a variant is from its reference, and whether that is within bounds."""
