"""Rollouts: plan, observations and the time in, decisions out. Pure: no I/O, no clock of its own.

`plan` is what a person writes, `record` what is known of one rollout durably, `observations` what
devices said; `group_progress` decides, `person` carries out what somebody asks for, `state_table`
has the tables of states. A decision is derived anew at each look, and made again it changes nothing
(docs/adr/0101).
"""
