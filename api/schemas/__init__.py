"""What the API takes and gives, a file a resource. Unknown fields are refused; times are RFC 3339, in UTC."""
