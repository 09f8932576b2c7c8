"""Drives rollouts: the shell around `fleet.rollout`, which only decides.

rollout_files  plan, record and requests of persons, beside the repository's other files
observing      what the engine is told: devices from the database, releases and offer from the
               repository, the time in the plan's zone
steering       one turn: look, make the record durable under the lease, sign, hand on
offer_payloads which payloads an offer names
gates          asks commands and addresses, without keeping a look waiting
delta_maker    has deltas made for what devices run, in a child process
announcer      brings what was signed to the brokers
requests       what a person asks for, and how it was answered
"""
