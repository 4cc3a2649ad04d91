"""What client, scheduler and workers agree on: settings, errors, wire types, names, ledger, memory."""
