"""What goes into a request: files of the user, where they may come from, and texts that are not to be shown."""
