"""What the training commands share: data, model, optimiser, export."""
