"""State that outlives a try: the record of a generation, and uploads."""
