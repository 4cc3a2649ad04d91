"""How many machines a load needs: measured figures, and what follows from them. Pure; `whisper-fleet plan` calls it."""
