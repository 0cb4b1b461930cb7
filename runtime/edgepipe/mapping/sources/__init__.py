"""What is read: files of Parquet, JSON lines and CSV, compressed or not, local or anywhere fsspec reaches."""
