"""The deciding core of the device: events in, actions out; no I/O, no clock, no threads.

`state_table` has the states, `events` what goes in, `actions` what comes out, `recovery` what a
start makes of what the last run left, `model` the core of one model that puts them together.
"""
