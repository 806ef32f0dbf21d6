"""How panels look: as HTML and JSON for pages (``html``), and as text for the terminal (``text``)."""
