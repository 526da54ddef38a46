"""Models of requests and answers, one file for each resource. Unknown fields are refused; times are in UTC."""
