"""Texts from tables and results back into them: CSV, TSV, JSONL and Parquet, by column."""
