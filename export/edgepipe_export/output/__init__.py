"""What an export writes: the bundle, its model card, the cache, progress and log."""
