"""How a Page is written: on the terminal, as HTML and as Markdown. Knows nothing of what it says."""
