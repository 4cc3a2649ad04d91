"""Who may do what in Redis: the users of a fleet, with the rights that each needs and no others."""
