"""Who may do what with the fleet's page: roles, users, sessions, tokens, and what they changed."""
