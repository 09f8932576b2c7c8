"""Moves a model onto what devices hold, as near to the given one as the user asks."""
