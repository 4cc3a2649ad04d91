"""How what clients chose is shown to people: in terminals, errors and logs."""
