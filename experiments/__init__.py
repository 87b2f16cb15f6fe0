"""What a person starts: parsing and calls. Nothing imports it."""
