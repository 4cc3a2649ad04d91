"""The HTTP server of a fleet: OpenAI's audio API, and the fleet's own; see docs/internals/http.md.

It keeps no state of its own. Jobs are in the ledger, keys and waiting clients are in Redis, and an upload is a file
that a key in Redis keeps. So an HTTP process can die or be replicated, and any of them can answer.
"""
