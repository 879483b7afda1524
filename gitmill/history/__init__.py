"""The past: verified, taken back, looked at."""
