"""Mail providers: SendGrid, SMTP, and the capture folder."""
