"""What EvoLink reports about a job, and when to poll it again. Pure."""
