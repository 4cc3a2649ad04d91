"""`whisper-fleet top`: the fleet on a full screen, refreshed until it is closed.

snapshot.py is what is shown, reading.py reads it from Redis, view.py decides what a key does, rendering.py lays it out,
and screen.py owns the terminal. Only reading.py knows Redis, and only screen.py the terminal; the others are pure.
"""
