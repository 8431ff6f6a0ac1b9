"""Recovery of many: archives paid jobs that no task waits for any more, before their links expire. Submits nothing."""
