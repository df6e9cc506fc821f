"""What is measured: one module per part of the system, each a list of rows for the table."""
