"""A server for bundles: one scheduler between requests and graphs, and each protocol as a file."""
