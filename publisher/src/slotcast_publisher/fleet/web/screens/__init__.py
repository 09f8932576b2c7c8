"""The screens: for each a view, which is pure, and a thin route that gives it to a template."""
