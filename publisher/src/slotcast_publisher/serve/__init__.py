"""`slotcast serve`: answers what devices miss, keeps signatures fresh, re-announces notices.

wants     decides which pieces are sent again, when, and how many (no I/O)
turns     whose turn it is of those who wait (no I/O)
budgets   how many bytes are sent again for whom in a day (no I/O)
rechecks  looks now and then whether brokers keep what was published
heard_wants  on which topics wants are heard, which of them count, and what must go
notices   decides which notices a broker must hear again, and when (no I/O)
catalog   what is offered now, and its bytes
session   one broker: connection, back-off, and the two deciders
broker_health  how each broker stands, for whoever looks after the fleet
log       lines for people or for programs; nobody waits for their reader
companion what may run beside, and is handed what devices say (the fleet; not imported)
listener  one broker: a connection that only listens, for the companion
service   the repository: looks for changes, renews signatures, one session per broker
"""
