"""What every HTML page of this wing is made of: style, pieces of HTML, drawings."""
