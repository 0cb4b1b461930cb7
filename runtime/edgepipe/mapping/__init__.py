"""A task over datasets that are larger than memory: columns kept, results added, parts that are whole or absent."""
