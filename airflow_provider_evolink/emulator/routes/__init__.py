"""The HTTP face of the emulator: routes, response bodies, and faults injected into them."""
