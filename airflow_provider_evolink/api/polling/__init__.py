"""Many waits on one timer, up to 50 jobs a call."""
