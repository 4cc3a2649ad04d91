"""Places: how many files of one tenant intake reads at once, so that slow ones do not occupy all of it.

A process takes a place before it reads a job's file. If the job's tenant has its share, the job is deferred: it waits
in the ledger, and its process takes the next message. Deferred jobs are read when a place is free. Called by the
planner, and by the thread that takes up parked jobs. While Redis is unreachable everything waits, as the rest of intake
does. The place of a process that dies runs out after half a minute, or when its node is back.
"""
