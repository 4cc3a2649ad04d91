"""What a client asks for: every option declared once, and read from keyword arguments."""
