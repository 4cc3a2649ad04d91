"""Plays the audio of a job: where it is, what a player may be sent, and who may hear it without sending an API key."""
