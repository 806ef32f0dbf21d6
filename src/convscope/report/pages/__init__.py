"""What the pages of a report say, as plain values for their templates and scripts: a file for each kind of page."""
