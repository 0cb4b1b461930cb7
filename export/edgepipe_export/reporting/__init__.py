"""The report of a bundle: one page and its JSON."""
