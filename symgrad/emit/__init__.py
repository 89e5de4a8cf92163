"""Loop program to C text. Python decides, templates spell."""
