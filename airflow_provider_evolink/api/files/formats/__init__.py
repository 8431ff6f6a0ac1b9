"""One module per container: what its file is, and the proof that nothing of it is missing. Nothing is decoded."""
