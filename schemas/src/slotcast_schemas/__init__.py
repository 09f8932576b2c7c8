"""The wire contract of Slotcast, used by both sides and knowing neither.

Start at `messages`: what crosses the wire. `wire` turns bytes into those messages and back,
`topics` names where they go, `errors` says who has to act, `codecs` holds the payload formats.
"""

__version__ = "0.1.0"
