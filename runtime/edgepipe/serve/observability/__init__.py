"""What a server tells of itself: counters, a line for each request, spans."""
