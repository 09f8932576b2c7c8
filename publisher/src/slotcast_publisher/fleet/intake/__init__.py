"""What devices say, from the broker into the database.

messages      topic and bytes to a validated message, or the word for why it was dropped (pure)
report_proof  whether a report is truly its device's, by its signature (pure)
counters      whether a message is newer than what is known, by its counter (pure)
known_device  what of a device has to be known to take its next message (pure)
presence      who is there, and two devices under one id (pure)
taking        one message and a record: what changes (pure)
batch         what is to be written, of many messages
intake        bounded queue, batches, and the thread that writes them
"""
