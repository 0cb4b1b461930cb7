"""Which variant is written: measured, repaired, chosen."""
