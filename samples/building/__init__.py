"""How `samples/build_model.py` makes the sample model: its data, its training, its measures."""
