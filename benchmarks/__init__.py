"""Speed and accuracy, seeded, under permanent names: `make bench` lists them."""
