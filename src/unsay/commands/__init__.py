"""The commands of `unsay`: each parses, calls one function of ours, and prints what it gave back."""
