"""What makes ReaLM fast, safe and durable. The method itself is at the top level."""
