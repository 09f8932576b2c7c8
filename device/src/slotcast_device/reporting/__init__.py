"""What this device says of itself: status, metrics, and OpenMetrics."""
