"""The protocols, one a file: which routes they have, and how they say results and errors."""
