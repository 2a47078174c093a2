"""Language models: references to them, and the clients that speak to them."""
