"""Who may see and do what: users, logins, sessions, and what every request has to pass."""
