"""Brings a release to the brokers: what to send, in which order, over which connection."""
