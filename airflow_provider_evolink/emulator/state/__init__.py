"""What the emulator remembers: jobs, credits, faults, uploads, and keys of signed links."""
