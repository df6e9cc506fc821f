"""From the outbox to JetStream, by one leader among the API processes."""
