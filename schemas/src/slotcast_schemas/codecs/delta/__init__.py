"""The delta codec: a new image from an old one, knowing that most bytes are tensors."""
