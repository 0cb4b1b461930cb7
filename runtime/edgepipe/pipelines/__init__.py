"""The pipelines, one file a task."""
