"""The protocols, one a file or folder: which routes they have, and how they say results and errors."""
