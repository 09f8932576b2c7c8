"""A repository and state directories as version 0.1.0 wrote them before its modules moved."""
