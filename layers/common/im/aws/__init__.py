"""What AWS offers besides tables: pushes to connections, the queue, tokens and secrets."""
