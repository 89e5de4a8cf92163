"""What a program is: typed, immutable, hash-consed nodes. Knows no operation by name."""
