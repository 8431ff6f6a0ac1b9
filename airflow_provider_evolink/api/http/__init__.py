"""One call and its response: what is sent, what came back and what it means."""
