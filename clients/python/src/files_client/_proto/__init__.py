"""The generated messages of the contract; `scripts/generate` makes them."""
