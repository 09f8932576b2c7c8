"""Everything durable: the disk and its rules, slots, chunks on their way, the record, trust."""
