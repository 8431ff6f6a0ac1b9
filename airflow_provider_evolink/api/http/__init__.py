"""One call, one response: how EvoLink is asked and what came back."""
