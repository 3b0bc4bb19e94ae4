"""What can make a frame, behind one protocol (`base`), and the chain that tries them in order."""
