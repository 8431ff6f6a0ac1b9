"""Files in object storage."""
