"""REST under `/api/v1`: a module for each resource; what they give is in `types`."""
