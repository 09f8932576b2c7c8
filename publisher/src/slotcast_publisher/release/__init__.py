"""Builds a release: checks the model, makes samples and payloads."""
