"""How rows of stores become batches: their order, their mixture, and what is read ahead."""
