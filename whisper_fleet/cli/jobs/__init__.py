"""The commands about jobs: submit, list, status, wait, result, cancel, retry, delete.

They reach the fleet through whisper_fleet.cli.connection only. Results go to standard output, one line or one JSON
object per job; progress, questions and errors go to standard error.
"""
