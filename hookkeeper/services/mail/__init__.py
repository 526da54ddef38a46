"""What happens to mail after it was sent: reports of the provider, and suppressed addresses."""
