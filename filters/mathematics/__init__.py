"""Final answers as mathematics: found, brought to one notation, compared."""
