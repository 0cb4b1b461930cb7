"""The comparison with other engines (`make bench-peers`): that it asks, counts and reports rightly, not how fast."""
