"""What happens between a request and the graph: a queue, batches that change no answer, texts that are written."""
