"""Gives each chunk its dense and its sparse vector; each distinct text is embedded once."""
