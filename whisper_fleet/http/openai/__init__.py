"""OpenAI's audio contract: what a form asks of the fleet, and what a transcript looks like in it."""
