"""What the pages show, decided from values alone: no reads, no clock."""
