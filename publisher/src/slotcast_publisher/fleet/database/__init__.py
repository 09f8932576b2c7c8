"""What is known of the fleet, kept: tables, migrations, queries. SQLite, or PostgreSQL by URL.

Only what no message tells a second time is the database's alone: history and figures. What devices
run is in their retained statuses, what they shall run in the signed offers; so a database that is
lost is made anew, and says since when it knows (docs/adr/0103).
"""
