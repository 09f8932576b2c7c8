"""Where a model comes from and what is in it: signatures of others, bills of material."""
