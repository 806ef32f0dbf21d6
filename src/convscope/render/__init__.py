"""How results look: as HTML and JSON for pages (``html``), as text (``text``), and in notebooks (``notebook``)."""
