"""The fleet's page and its API: a web server that reads the database and what lies beside it.

It is a process of its own, so that many viewers slow nothing that devices need. It holds no keys
and signs nothing: what persons ask of a rollout becomes a request for `slotcast serve`.
"""
