"""DynamoDB: one module a table; one function is one atomic write or one read."""
