"""What EvoLink says of a job, and when to poll it again. Pure."""
