"""What several test files use: generators, oracles, tables, and ways to compile and compare."""
