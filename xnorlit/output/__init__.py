"""What the program leaves behind: tagged lines on the terminal, files that are there whole or not at all."""
