"""Our bundles in the hands of others: ``make interop``."""
