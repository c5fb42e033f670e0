"""Export: the formats that trainers take."""
