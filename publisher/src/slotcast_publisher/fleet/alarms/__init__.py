"""Alarms: what needs a person, said once when it begins and once when it ends.

kinds        the kinds there are, and how long each must last
facts        what is looked at
rules        decides which conditions hold (no I/O)
board        decides what is raised, what is cleared, and how often (no I/O)
gather       facts from the database, the repository, and the brokers' certificates
alarm_store  alarms in the database
webhook      posts alarms, signed, by a thread of its own; nobody waits for it
watch        the part of `fleet.fleet_service` that puts these together
"""
