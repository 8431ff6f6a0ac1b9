"""What must outlive a try."""
