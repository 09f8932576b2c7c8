"""One connection to one broker: reaching it, keeping it, and taking its packets apart."""
