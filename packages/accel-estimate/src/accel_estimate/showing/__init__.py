"""An estimate for people: tables on a terminal, and a page."""
