"""The database: connections, transactions, compiled statements, encrypted columns and pages of rows."""
