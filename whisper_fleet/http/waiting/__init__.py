"""Clients that wait for a job while their connection is open: who joins, and what follows when one leaves."""
