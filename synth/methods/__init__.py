"""Methods: each an async function from one row to one outcome, one file each, written as its paper tells it."""
