"""What the owner of the device decides: update windows, consent and hooks."""
