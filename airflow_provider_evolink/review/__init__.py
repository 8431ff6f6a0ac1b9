"""Review of results by people: what is to be chosen, how it is shown, and what was chosen. Pure."""
