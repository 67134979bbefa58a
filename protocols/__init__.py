"""Wire protocols on top of the stack, one folder each."""
