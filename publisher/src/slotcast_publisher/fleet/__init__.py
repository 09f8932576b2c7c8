"""The fleet: what devices report, and rollouts that go by it. Nothing outside imports this."""
