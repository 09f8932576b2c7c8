"""Asks the page of another machine: what `slotcast fleet` and `slotcast rollout` do with --server.

The answers are the types of the API (`web.api.types`); no framework of the page is needed here.
"""
