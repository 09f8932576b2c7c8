"""The publisher's side of The Update Framework: keys, roles and signed metadata (docs/trust.md)."""
