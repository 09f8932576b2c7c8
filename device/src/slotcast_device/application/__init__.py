"""The contract with applications: the report that each process writes, and its histogram."""
