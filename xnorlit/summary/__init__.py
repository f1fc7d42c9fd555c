"""What a network weighs and computes, on the terminal."""
