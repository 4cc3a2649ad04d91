"""The processes in which a node transcribes where one Python process with a thread per slot would be the bottleneck.

A feeder runs `whisper.transcribe()` for some of the node's slots. All else stays in the node: Celery, the ledger,
admission to the engine, and the decision when a segment ends early.
"""
