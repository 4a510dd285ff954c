"""What runs packed networks: sessions, exact engines, float engines."""
