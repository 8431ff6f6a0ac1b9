"""How a file comes over a line: what has arrived, what is requested next, and what came encoded."""
