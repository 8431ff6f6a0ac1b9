"""Media files over HTTP: download, upload, and what a file is."""
